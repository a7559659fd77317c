"""What the manifest of a scorecard says beside the usual."""

from gazeshift.manifest import AttackEntry, ManifestEntry, StudyManifest


class SetAttackEntry(AttackEntry):
    """The attack that made a set, as the set's own manifest says: its spec, its settings, and what bounds its size."""

    name: str = "unknown"
    norm: str | None = None
    epsilon: float | None = None

    @property
    def family(self) -> str:
        """The attack, whatever its size: ``pgd``, ``foolbox:L2DeepFoolAttack``."""
        name, _, rest = self.name.partition(":")
        bare = rest.partition(",")[0]
        return f"{name}:{bare}" if bare and "=" not in bare else name


class SetEntry(ManifestEntry):
    """A set: its attack, the model that it was made on, its examples that fool the model, and those tried."""

    attack: SetAttackEntry
    family: str
    model: str | None
    examples: int
    tried: int


class DetectorEntry(ManifestEntry):
    """A detector: what it is, on how many images it learned and was calibrated, what it promises, what it looks at."""

    name: str
    kind: str
    learned_from: int
    calibrated_on: int
    false_alarms: float
    threshold: float | None
    layers: tuple[str, ...]
    views: tuple[str, ...]
    sets: dict[str, object]


class ScorecardManifest(StudyManifest):
    """A scorecard's manifest.

    Args:
        sets: by name, in the order of the settings.
        detectors: likewise.
        adaptive: the lines of a file of adaptive results, whatever they are.
    """

    sets: dict[str, SetEntry]
    detectors: dict[str, DetectorEntry]
    adaptive: tuple[object, ...] = ()
