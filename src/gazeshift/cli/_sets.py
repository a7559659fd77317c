"""What the commands about adversarial sets do and say."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gazeshift.data import AdversarialSet, export_set, printable, read_class_names, verify_set
from gazeshift.errors import DataError
from gazeshift.models import Classifier, load
from gazeshift.runs.settings import Progress

SHOWN = 3


def described(found: AdversarialSet) -> list[str]:
    """A set in few lines: what it is, what came of it, and every finding that is not ``ok``."""
    manifest = found.manifest
    if "model" not in manifest:
        return _described_folders(found)
    model, attack, counts = manifest["model"], manifest["attack"], manifest["counts"]
    epsilon, norm = attack["epsilon"], attack["norm"]
    bound = f", epsilon {_size(epsilon, norm)} ({norm})" if epsilon and norm else ""
    return [
        f"{attack['name']}{bound} on {model['name']} (weights {model['weights_sha256'][:12]}), seed {manifest['seed']}",
        f"images: {counts['used']} of {counts['asked']} from {manifest['images']['source']}, labels "
        f"{manifest['images']['labels']}, {counts['skipped']} skipped",
        *_left_out(found),
        *_outcome(counts),
        *_health(manifest["health"]),
    ]


def names_in(classes: Path | None) -> tuple[str, ...]:
    """Class names from a file, if one is given."""
    return () if classes is None else read_class_names(classes)


def model_of(
    found: AdversarialSet, *, model: str | None, weights: str | None, input_size: str | None, device: str
) -> Classifier | None:
    """The model that a set was made for, as its manifest or the command names it; None for folders from elsewhere."""
    said = found.manifest.get("settings", {})
    if not said and model is None:
        return None
    return load(
        model or said["model"],
        weights=weights or (said.get("weights") if model is None else None),
        input_size=input_size or (said.get("input_size") if model is None else None),
        device=device,
    )


def verified(found: AdversarialSet, classifier: Classifier | None, *, size: int, progress: Progress) -> list[str]:
    """Lines about a set that holds.

    Raises:
        DataError: it does not; the first problems.
    """
    seen = verify_set(found, classifier, size=size, progress=progress)
    if seen.problems:
        more = f"; and {len(seen.problems) - SHOWN} more" if len(seen.problems) > SHOWN else ""
        first = "; ".join(problem.rstrip(".") for problem in seen.problems[:SHOWN])
        raise DataError(f"{found.path} does not hold what it says: {first}{more}.")
    hashes = len(found.manifest.get("shards", ()))
    lines = [f"{seen.images} images read" + (f", {hashes} shards fit their hashes" if hashes else "")]
    if seen.predicted and seen.counts:
        lines.append(f"every prediction holds; confidences differ by {seen.largest:.1e} at most")
    lines += [
        f"{classifier.name} is wrong on {count} {kind} images" for kind, count in seen.wrong.items() if classifier
    ]
    return lines + _outcome(found.manifest["counts"]) if seen.counts else lines + _left_out(found)


def exported(found: AdversarialSet, out: Path, *, progress: Progress) -> list[str]:
    """Write the PNG files; lines about what rounding did."""
    seen = export_set(found, out, progress=progress)
    lines = [f"{seen.images} pairs of PNG files, the largest change {seen.largest} of 255 levels"]
    if seen.success is not None and seen.success_8bit is not None:
        lost = seen.success - seen.success_8bit
        lines.append(f"{lost} of {seen.success} examples that fool the model do not any more, because of the rounding")
    lines += [] if "shards" in found.manifest else _left_out(found)
    return [*lines, *(str(out / name) for name in ("clean", "attacked", "labels.csv") if (out / name).exists())]


def _described_folders(found: AdversarialSet) -> list[str]:
    manifest = found.manifest
    counts, images = manifest["counts"], manifest["images"]
    clean = "with clean images" if images["clean"] else "without clean images"
    used, asked = counts["used"], counts["asked"]
    return [
        f"{manifest['kind']}: {used} of {asked} attacked images can be used, {clean}, labels {images['labels']}",
        *_left_out(found),
    ]


def _left_out(found: AdversarialSet) -> list[str]:
    """The first images that were skipped, and what else was left out."""
    manifest = found.manifest
    notes = [*manifest.get("notes", ()), *manifest["images"].get("notes", ())]
    skipped = manifest["skipped"][:SHOWN]
    return [f"skipped {printable(skip['id'])}: {skip['reason']}" for skip in skipped] + [
        f"note: {note}" for note in notes
    ]


def _outcome(counts: Mapping[str, int]) -> list[str]:
    used, right, success = (counts[name] for name in ("used", "clean_correct", "success"))
    return [
        f"classified right before: {right} of {used}; fooled of these: {success} ({success / max(right, 1):.1%}); "
        f"wrong after, of all: {counts['wrong_after']} ({counts['wrong_after'] / max(used, 1):.1%}); "
        f"fooled in 8 bit: {counts['success_8bit']}"
    ]


def _health(findings: Sequence[Mapping[str, str]]) -> list[str]:
    bad = [finding for finding in findings if finding["level"] != "ok"]
    told = f"health: {len(findings) - len(bad)} of {len(findings)} checks hold"
    return [told, *(f"* {finding['level']}, {finding['check']}: {finding['detail']}" for finding in bad)]


def _size(epsilon: float, norm: str) -> str:
    """Epsilon as people write it."""
    return f"{epsilon * 255:.4g}/255" if norm == "linf" else f"{epsilon:.4g}"
