"""The screens that rooms declare."""

from __future__ import annotations

from litestar.params import FromPath

from headrace.api.routes.operation import Ctx, operation
from headrace.api.views import ScreenBrief
from headrace.kernel.errors import NotFound
from headrace.ui import Screen


@operation("GET", "/screens", "listScreens", "The screens of the console, in order", tag="screens")
async def list_screens(ctx: Ctx) -> list[ScreenBrief]:
    return [ScreenBrief(s.id, s.path, s.title, s.icon, s.order, s.menu, s.params) for s in ctx.screens]


@operation(
    "GET", "/screens/{id:str}", "getScreen", "One screen with its widgets", tag="screens", errors=(404,)
)
async def get_screen(ctx: Ctx, id: FromPath[str]) -> Screen:
    found = ctx.screens.get(id)
    if found is None:
        raise NotFound("api.no_such_screen", screen=id)
    return found


HANDLERS = [list_screens, get_screen]
