"""What is looked at: specs, loading, examples, self-checks and fingerprints."""

from interp.models.examples import Examples, ExamplesError
from interp.models.loading import load_model, require_device, resolve, zoo_names
from interp.models.model import HeadWeights, Model
from interp.models.spec import ModelError, ModelSpec

__all__ = [
    "Examples",
    "ExamplesError",
    "HeadWeights",
    "Model",
    "ModelError",
    "ModelSpec",
    "load_model",
    "require_device",
    "resolve",
    "zoo_names",
]
