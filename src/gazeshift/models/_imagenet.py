"""Names and WordNet ids of ImageNet's 1000 classes, as timm ships them."""

from functools import cache


@cache
def imagenet_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names ("tench, Tinca tinca") and WordNet ids ("n01440764"), in the order of the class index."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    wnids = tuple(info.label_names())  # type: ignore[no-untyped-call]
    return tuple(info.index_to_description(index) for index in range(len(wnids))), wnids
