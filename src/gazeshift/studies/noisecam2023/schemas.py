"""The columns of the noisecam2023 study's own tables."""

import pyarrow as pa

CONDITION = [("image", pa.string()), ("kind", pa.string()), ("strength", pa.float32()), ("fooled", pa.bool_())]
COMBINATION = [(name, pa.string()) for name in ("layer", "alpha_norm", "factor", "binarise")]
MEASURED = pa.schema([*CONDITION, *COMBINATION, ("measured", pa.list_(pa.float64()))])
VERDICTS = pa.schema(
    [
        *CONDITION,
        ("part", pa.string()),
        *COMBINATION,
        *((name, pa.float64()) for name in ("peak", "share", "clusters")),
        ("is_attack", pa.bool_()),
    ]
)
FITTED = pa.schema([*COMBINATION, ("gate", pa.float64()), ("level", pa.float64()), ("benign", pa.int32())])
BEHAVIOUR = pa.schema(
    [
        *CONDITION,
        *((name, pa.float64()) for name in ("similarity", "null_mean", "null_std", "threshold", "p_value", "z")),
        ("is_attack", pa.bool_()),
        ("components", pa.list_(pa.int32())),
        ("residual_mean", pa.float32()),
        ("residual_std", pa.float32()),
    ]
)
PICTURES = pa.schema(
    [
        *((name, pa.string()) for name in ("image", "figure", "kind", "what", "caption")),
        ("webp", pa.binary()),
    ]
)
