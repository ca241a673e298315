"""Proto-value networks: representation learning from the successor measure of many tasks."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pvn.features import Features, load_features, random_features

__version__ = "0.1.0"
__all__ = ["Features", "load_features", "random_features"]


def __getattr__(name: str) -> Any:
    # On demand, so that reading a dataset does not import JAX.
    if name in __all__:
        from pvn import features

        return getattr(features, name)
    raise AttributeError(f"module 'pvn' has no attribute {name!r}")
