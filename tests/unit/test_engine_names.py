"""What `import pylon_workflows` offers is chosen by hand."""

import importlib
import importlib.metadata


def test_the_public_names_are_sorted_and_all_there():
    module = importlib.import_module("pylon_workflows")
    assert list(module.__all__) == sorted(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_every_public_class_and_function_says_what_it_is():
    module = importlib.import_module("pylon_workflows")
    assert [name for name in module.__all__ if not (getattr(module, name).__doc__ or "").strip()] == []


def test_every_exception_of_the_engine_is_public():
    module, errors = importlib.import_module("pylon_workflows"), importlib.import_module("pylon_workflows.errors")
    exceptions = {
        name for name, found in vars(errors).items() if isinstance(found, type) and found.__module__ == errors.__name__
    }
    assert exceptions <= set(module.__all__)


def test_the_version_is_that_of_the_distribution():
    module = importlib.import_module("pylon_workflows")
    assert module.__version__ == importlib.metadata.version("pylon-workflows")
