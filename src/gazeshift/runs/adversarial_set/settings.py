"""Settings of a run that makes an adversarial set."""

from pydantic import Field

from gazeshift.runs.settings import Number, StudySettings


class SetSettings(StudySettings):
    """What an attack run needs to know beside the attack's name."""

    epsilon: Number | None = Field(None, description="Size of the change, such as 2/255; none: the attack's own.")
    batch_size: int = Field(8, ge=1, description="Images side by side; changes no result.")
    shard_size: int = Field(32, ge=1, description="Images in a file of the set: the piece that a killed run redoes.")
    health_images: int = Field(16, ge=0, description="Images to probe the attack's health on; 0: no probes.")

    def identity(self) -> dict[str, object]:
        """The settings that decide the set's images."""
        return {name: value for name, value in super().identity().items() if name != "health_images"}
