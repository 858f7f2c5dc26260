"""The structured report templates of a site."""

from __future__ import annotations

from pathlib import Path

from model.structured.parse import SHIPPED_TEMPLATES, read_templates
from model.structured.template import Template, TemplateError
from plugin.settings import SettingError, Settings


def site_templates(settings: Settings, folder: Path | None = None) -> dict[str, Template]:
    """Every template by its identifier. folder: instead of the site's own.

    Raises SettingError, which names the folder and file, when there are none or one cannot be used.
    """
    chosen = folder or settings.templates or SHIPPED_TEMPLATES
    if not chosen.is_dir():
        raise SettingError(f"Templates are looked for in {chosen}, which is no folder; see PRELIM_TEMPLATES.")
    try:
        found = read_templates(chosen)
    except TemplateError as error:
        raise SettingError(f"A template in {chosen} cannot be used: {error}") from None
    if not found:
        raise SettingError(f"There is no template (*.html) in {chosen}; see PRELIM_TEMPLATES.")
    return found
