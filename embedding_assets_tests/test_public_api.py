"""What the package promises at its edge."""

import importlib
import inspect
import subprocess
import sys
from importlib.resources import files

import pytest

import embedding_assets
from embedding_assets import errors

HEAVY = {"torch", "openai", "dagster", "transformers", "sentence_transformers"}


def in_new_process(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_all_is_sorted_and_what_the_homes_offer():
    names = embedding_assets.__all__
    assert names == sorted(names)
    assert set(names) == set(embedding_assets._HOMES)
    assert dir(embedding_assets) == names


@pytest.mark.parametrize("name", embedding_assets.__all__)
def test_each_name_is_the_one_of_its_home(name: str):
    home = importlib.import_module(f"embedding_assets.{embedding_assets._HOMES[name]}")
    assert getattr(embedding_assets, name) is getattr(home, name)


def test_type_checkers_see_the_same_names():
    source = inspect.getsource(embedding_assets)
    block = source[source.index("if TYPE_CHECKING:") : source.index("_HOMES")]
    for name, home in embedding_assets._HOMES.items():
        line = block[block.index(f"from embedding_assets.{home} import") :]
        assert name in line[: line.index("    from", 5) if "    from" in line[5:] else len(line)]


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        embedding_assets.nothing  # noqa: B018


@pytest.mark.parametrize(
    "before", ["", "import embedding_assets.retrieval", "from embedding_assets.retrieval import SearchResult"]
)
def test_search_is_the_function_and_not_its_module(before: str):
    code = f"{before}\nfrom embedding_assets import search, search as again\nprint(callable(search), search is again)"
    assert in_new_process(code) == "True True"


@pytest.mark.parametrize("module", ["embedding_assets", "embedding_assets.config", "embedding_assets.cli.app"])
def test_importing_loads_nothing_heavy(module: str):
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    assert in_new_process(code) == ""


def test_exception_tree_in_the_docstring_is_the_real_one():
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if not line.startswith("    "):
            continue
        indented = line[4:]
        name = indented.strip("│├└─ ").split()[0]
        depth = indented.index(name) // 4
        del above[depth:]
        drawn[name] = above[-1] if above else "Exception"
        above.append(name)
    real = {
        name: cls.__base__.__name__
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, Exception)
    }
    assert drawn == real
    assert sorted(real) == [name for name, home in embedding_assets._HOMES.items() if home == "errors"]


def test_types_are_shipped():
    assert files("embedding_assets").joinpath("py.typed").is_file()
