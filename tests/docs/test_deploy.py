"""What lies in deploy/: files that parse, flags and metrics that exist, and checks of whatever tool is at hand."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gazeshift import cli
from gazeshift.serve.gateway._metrics import Metrics

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def read(name: str) -> dict:
    return yaml.safe_load((DEPLOY / name).read_text())


def entry_point() -> list[str]:
    (line,) = re.findall(r"^ENTRYPOINT (.*)$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    return json.loads(line)


def started() -> list[str]:
    (line,) = re.findall(r"^ExecStart=(.*)$", (DEPLOY / "gazeshift.service").read_text(), re.MULTILINE)
    return shlex.split(line)


COMMANDS = {
    "Containerfile": entry_point,
    "compose.yaml": lambda: [*entry_point(), *read("compose.yaml")["services"]["gateway"]["command"]],
    "gazeshift.service": lambda: started()[:1] and ["gazeshift", *started()[1:]],
}


@pytest.mark.parametrize("file", COMMANDS)
def test_the_gateway_takes_every_flag(file):
    program, *arguments = COMMANDS[file]()
    assert program == "gazeshift"
    _, bound, *_ = cli.app.parse_args(arguments, exit_on_error=False, print_error=False)
    settings = bound.arguments["settings"]
    assert settings.port == 8000
    assert settings.is_local is (file == "gazeshift.service")
    assert (settings.token_file is None) is (file == "Containerfile")


def test_a_flag_that_is_none_would_be_found():
    with pytest.raises(Exception, match="--nonsense"):
        cli.app.parse_args(["serve", "--nonsense", "1"], exit_on_error=False, print_error=False)


def test_the_container_runs_as_nobody_with_a_health_check_and_no_address_of_an_index():
    text = (DEPLOY / "Containerfile").read_text()
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert "/healthz" in re.search(r"^HEALTHCHECK (.|\n)*?$\n(?=ENTRYPOINT)", text, re.MULTILINE)[0]
    assert text.index("USER") > text.rindex("RUN")
    assert not re.search(r"https?://(?!127\.0\.0\.1)", text)
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    kept = (ROOT / ".dockerignore").read_text()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert f"!{name}\n" in kept


def test_the_container_gets_the_pins_of_users_and_says_if_they_disagree():
    text = (DEPLOY / "Containerfile").read_text()
    assert "pip install --no-cache-dir --constraint constraints.txt '.[serve]'" in text
    assert "/pip check" in text
    assert "constraints-dev" not in text
    pins = (ROOT / "constraints.txt").read_text()
    old = {name: int(re.search(rf"^{name}==(\d+)", pins, re.MULTILINE)[1]) for name in ("idna", "urllib3")}
    assert old["idna"] >= 3, "torchattacks holds them back again"
    assert old["urllib3"] >= 2


def test_alerts_speak_of_metrics_that_the_gateway_has():
    said = Metrics(0.05).page().decode()
    known = set(re.findall(r"^# TYPE (\S+)", said, re.MULTILINE))
    rules = [rule for group in read("alerts.yml")["groups"] for rule in group["rules"]]
    used = {name for rule in rules for name in re.findall(r"gazeshift_\w+", rule["expr"])}
    assert len(used) >= 5
    assert used <= known
    assert any("gazeshift_drift_p_value" in rule["expr"] for rule in rules)
    assert all(rule["annotations"]["summary"] for rule in rules)


def test_prometheus_asks_the_gateway_of_the_same_composition():
    services, (job,) = read("compose.yaml")["services"], read("prometheus.yml")["scrape_configs"]
    host, port = job["static_configs"][0]["targets"][0].split(":")
    assert host in services
    assert services[host]["ports"][0].endswith(f":{port}")
    assert job["job_name"] in read("alerts.yml")["groups"][0]["rules"][2]["expr"]
    mounted = [line.split(":")[0] for line in services["prometheus"]["volumes"] if line.startswith("./")]
    assert all((DEPLOY / name).is_file() for name in mounted)
    assert job["authorization"]["credentials_file"] == "/run/secrets/token"
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_systemd_finds_no_fault(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "gazeshift.service"
    unit.write_text((DEPLOY / "gazeshift.service").read_text().replace(started()[0], sys.executable))
    seen = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (seen.returncode, seen.stderr) == (0, "")
    exposure = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert exposure.returncode == 0, exposure.stdout[-500:]


def test_hadolint_finds_no_fault():
    beside = Path(sys.executable).with_name("hadolint")
    if not beside.is_file():
        pytest.skip("hadolint is not installed")
    seen = subprocess.run([beside, DEPLOY / "Containerfile"], capture_output=True, text=True, check=False)
    assert seen.returncode == 0, seen.stdout
