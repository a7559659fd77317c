"""How many workers a long run has, and where they are."""

from pydantic import BaseModel, ConfigDict, Field

LOCAL = "local"


class Scale(BaseModel):
    """Where the cells of a run are computed. No setting changes a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int | None = Field(
        None, ge=1, description="Compute in this many processes of one thread (or GPU) each; on Ray: as many actors."
    )
    ray: str | None = Field(
        None, description="Compute on Ray: --ray alone starts it on this machine, --ray ADDRESS joins a cluster."
    )

    @property
    def is_alone(self) -> bool:
        """Whether this process computes everything itself."""
        return self.workers is None and self.ray is None
