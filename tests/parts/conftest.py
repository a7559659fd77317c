"""What several tests of parts begin with."""

import pytest

from gazeshift import cli


@pytest.fixture
def run(capfd):
    """Run a command in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return ended.value.code, captured.out, captured.err

    return run
