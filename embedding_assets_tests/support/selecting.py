"""What a run selects, where there is no API to ask."""

from functools import partial

from embedding_assets.providers.space_selection import select_for_run

select_unasked = partial(select_for_run, first_contact=False)
