"""Bodies of requests: JSON and nothing else, and complaints that name the field."""

import json
from collections.abc import Callable, Iterator

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import from_json

_MOST_ERRORS = 5
_LONGEST_PART = 60


class StrictJSONRequest(Request):
    """A request whose body must be JSON in UTF-8, without what Python takes: NaN, infinities, lone surrogates, and
    objects with one name twice."""

    async def json(self):
        """The body as Python values.

        Raises:
            HTTPException: with status 400, saying where it is no JSON.
        """
        body = await self.body()
        try:
            content = from_json(body, allow_inf_nan=False)
            json.loads(body, object_pairs_hook=_refuse_repeated_names)  # pydantic keeps the last
            return content
        except ValueError as error:
            raise HTTPException(400, f"The body is no JSON: {error}.") from error


class StrictJSONRoute(APIRoute):
    """A route that reads its body so, and refuses other content types."""

    def get_route_handler(self) -> Callable:
        """FastAPI's handler around such a request."""
        handler = super().get_route_handler()
        takes_body = self.body_field is not None

        async def strict_handler(request: Request):
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if takes_body and kind != "application/json":
                raise HTTPException(415, f"The content type is {kind!r}: send `Content-Type: application/json`.")
            return await handler(StrictJSONRequest(request.scope, request.receive))

        return strict_handler


def _refuse_repeated_names(pairs):
    names = [name for name, _ in pairs]
    repeated = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if repeated is not None:
        raise ValueError(f"the name {_cut(repeated)!r} stands twice in one object")


def described(error: RequestValidationError) -> str:
    """What is wrong with a body, each fault with the name of its field, without repeating what was sent.

    >>> described(RequestValidationError([{"loc": ("body", "items", 0, "text"), "msg": "Input should be a string"}]))
    'items.0.text: Input should be a string'
    """
    errors = error.errors()
    messages = [f"{'.'.join(_where(one['loc'])) or 'body'}: {_what(one)}" for one in errors[:_MOST_ERRORS]]
    more = len(errors) - len(messages)
    return "; ".join(messages) + (f"; and {more} more" if more else "")


def _where(loc) -> Iterator[str]:
    """Parts of a place in the body, without names of alternatives, such as `<text>`, and with keys of clients cut."""
    for part in map(str, loc[1:]):
        if not part.startswith("<"):
            yield _cut(part)


def _cut(part):
    return part if len(part) <= _LONGEST_PART else f"{part[:_LONGEST_PART]}..."


def _what(one):
    return "unknown field" if one.get("type") == "extra_forbidden" else one["msg"].removeprefix("Value error, ")
