"""What can go wrong between asking a language model and having its answer.

::

    ServiceError
    ├── ConnectionFailedError        refused, reset, name not found, timed out
    ├── ServerFailedError            5xx, or 200 with a body that is no answer
    ├── ContextTooLongError          the prompt does not fit the model
    ├── OptionUnsupportedError       the model refuses one request option; ``option`` names it
    ├── RequestRejectedError         any other 4xx
    ├── RefusedError
    │   ├── CredentialsError         401, 403: ends the run
    │   ├── ModelNotFoundError       404 for the model: ends the run
    │   └── ContentRefusedError      content filter or a refusal of the model
    ├── RateLimitedError -> ThrottledError   429 and the like, with the time to wait
    ├── AnswerInvalidError
    │   ├── EmptyAnswerError         nothing but blanks
    │   ├── TruncatedError           cut at the output limit
    │   └── UnreadableAnswerError    never matched the schema
    └── BudgetExceededError          ends the run
        └── QuotaError               402, or 429 whose code speaks of quota or credit
"""

from __future__ import annotations

from cellkey.errors import (
    AnswerInvalidError,
    BudgetExceededError,
    RateLimitedError,
    RefusedError,
    ServiceError,
)

__all__ = [
    "ConnectionFailedError",
    "ContentRefusedError",
    "ContextTooLongError",
    "CredentialsError",
    "EmptyAnswerError",
    "ModelNotFoundError",
    "OptionUnsupportedError",
    "QuotaError",
    "RequestRejectedError",
    "ServerFailedError",
    "ThrottledError",
    "TruncatedError",
    "UnreadableAnswerError",
    "ends_run",
    "is_transient",
]


class ConnectionFailedError(ServiceError):
    """The service could not be reached, dropped the connection or stayed silent."""


class ServerFailedError(ServiceError):
    """The service answered with an internal failure or with something that is no answer at all."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class ContextTooLongError(ServiceError):
    """The prompt does not fit into the model's context."""


class OptionUnsupportedError(ServiceError):
    """The model refuses one option of the request (``temperature``, ``max_tokens``, ``response_format``, ...)."""

    def __init__(self, message: str, option: str) -> None:
        super().__init__(message)
        self.option = option


class RequestRejectedError(ServiceError):
    """The service rejected the request for a reason that repeating it cannot mend."""


class CredentialsError(RefusedError):
    """The key is missing, wrong or not allowed to use the model."""


class ModelNotFoundError(RefusedError):
    """The service does not know the model."""


class ContentRefusedError(RefusedError):
    """A content filter or the model itself declined to answer."""


class ThrottledError(RateLimitedError):
    """The service asked to slow down; ``wait`` is the number of seconds it asked for, or None."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class EmptyAnswerError(AnswerInvalidError):
    """The answer holds no text."""


class TruncatedError(AnswerInvalidError):
    """The answer was cut at the output limit."""


class UnreadableAnswerError(AnswerInvalidError):
    """The answer did not follow its schema, even after being asked to mend it."""


class QuotaError(BudgetExceededError):
    """The account has no credit or quota left."""


def ends_run(error: BaseException) -> bool:
    """Return whether no further call can succeed after ``error`` (credentials, model name, money)."""
    return isinstance(error, CredentialsError | ModelNotFoundError | BudgetExceededError)


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed when it is sent again."""
    return isinstance(error, ConnectionFailedError | ServerFailedError | ThrottledError)
