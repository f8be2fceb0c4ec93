"""A component loaded in this process, from the text of its ``defs.yaml``."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from embedding_assets.defs.jobs import range_tags
from embedding_assets.planning import PrefixRange

WARNINGS = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated"),
]
"""Dagster's own, of how it reads such a file."""


@contextmanager
def loaded(text: str, **files: str) -> Iterator[tuple[dg.Component, dg.Definitions]]:
    """The component and its definitions, in a project with these files in its root."""
    with create_defs_folder_sandbox() as sandbox:
        for name, content in files.items():
            (sandbox.project_root / name.replace("_md", ".md")).write_text(content)
        folder = sandbox.defs_folder_path / "articles"
        folder.mkdir()
        (folder / "defs.yaml").write_text(textwrap.dedent(text))
        with sandbox.load_component_and_build_defs(folder) as found:
            yield found


def run_all(defs: dg.Definitions, job: str, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """A run of a table's job over all partitions."""
    tags = range_tags(PrefixRange("0", "f"))
    return defs.resolve_job_def(job).execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def metadata_of(result: dg.ExecuteInProcessResult, node: str) -> dict[str, object]:
    """Of the first materialization of an asset."""
    [first, *_] = result.asset_materializations_for_node(node)
    return {name: value.value for name, value in first.metadata.items()}


def first_error(result: dg.ExecuteInProcessResult) -> str:
    """What the first step that failed says."""
    [first, *_] = [event for event in result.all_events if event.is_step_failure]
    return first.step_failure_data.error.to_string()
