"""Where tests may compute in int8."""

import pytest

from embedding_assets.encoder.int8 import products_are_exact

needs_int8 = pytest.mark.skipif(not products_are_exact(), reason="this CPU has neither VNNI nor AMX")


def let_int8_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this CPU, whatever is fastest; how fast it is, is not what these tests are about."""
    monkeypatch.setattr("embedding_assets.encoder.precision._int8_ratio", lambda: (2.0, "float32"))
