"""One server's model, queue and counts, from start to stop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from .answers import ItemScore, ScoreAnswer
from .batching import Batcher
from .metrics import Metrics
from .options import ServingOptions
from .refusal import Refusal
from .requests import ScoreRequest
from .scorer import Scorer
from .worker import Worker

logger = logging.getLogger(__name__)


class RewardService:
    """Loads the model while the server answers that it is not ready, then scores what requests ask for.

    The model runs in one thread and texts become ids in another, so that the event loop is free to answer others.

    Args:
        load (`Callable`): Returns the [`Scorer`]; runs in the model's thread.
        options ([`ServingOptions`]): Bounds and the default statistic.
        on_ready (`Callable`): Gets the [`Scorer`] once it has scored a first text.
        on_failure (`Callable`): Called if the model could not be loaded; `failure` says why.

    Attributes:
        failure (`Exception`): Why the model could not be loaded, `None` otherwise.
    """

    def __init__(
        self,
        load: Callable[[], Scorer],
        options: ServingOptions,
        on_ready: Callable[[Scorer], None] = lambda scorer: None,
        on_failure: Callable[[], None] = lambda: None,
    ):
        self._load = load
        self.options = options
        self._on_ready = on_ready
        self._on_failure = on_failure
        self.metrics = Metrics()
        self.failure: Exception | None = None
        self._scorer: Scorer | None = None
        self._batcher: Batcher | None = None
        self._running: asyncio.Task | None = None
        self.metrics.gauges = {
            "ready": ("1 where requests are answered.", lambda: self.status == "ready"),
            "waiting_responses": ("Responses that wait for a forward.", self._num_waiting),
        }

    @asynccontextmanager
    async def lifespan(self, app) -> AsyncIterator[None]:
        """The model's threads and queue around the time in which the server runs."""
        self._model_thread, self._text_thread = Worker("model"), Worker("texts")
        self._running = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
            self._model_thread.stop()
            self._text_thread.stop()

    @property
    def status(self) -> str:
        """`"ready"`, `"loading"` or `"failing"`."""
        if self.failure is not None or self._running.done():
            return "failing"
        if self._scorer is None:
            return "loading"
        return "failing" if self._batcher.is_failing else "ready"

    async def score(self, request: ScoreRequest) -> ScoreAnswer:
        """Answer a request in the server's own form.

        Raises:
            Refusal: if it cannot be answered.
        """
        scorer = self._ready_for(len(request.items), "items")
        try:
            statistic = request.reward_statistic() or self.options.reward_statistic()
            scorer.check_statistic(statistic)
        except ValueError as error:
            field = "statistic" if request.category_rewards is None else "category_rewards"
            raise Refusal(422, f"{field}: {error}") from error
        sequences = await self._text_thread.run(scorer.item_ids, [item.row() for item in request.items])
        return ScoreAnswer(
            statistic=statistic.statistic,
            category_names=list(scorer.config.category_names) if scorer.config.anchored else None,
            results=await self._results(sequences, statistic),
        )

    async def score_joined(self, texts: Sequence[str], field: str) -> list[ItemScore]:
        """Scores of texts in which prompt and response were joined before.

        Raises:
            Refusal: if they cannot be scored.
        """
        scorer = self._ready_for(len(texts), field)
        sequences = await self._text_thread.run(scorer.joined_ids, texts, field)
        return await self._results(sequences, self.options.reward_statistic())

    def category_names(self) -> list[str]:
        """Names of the model's categories; it must be loaded."""
        return list(self._scorer.config.category_names)

    async def _run(self):
        try:
            scorer = await self._model_thread.run(self._loaded)
        except Exception as error:
            self.failure = error
            self._on_failure()
            return
        self._batcher = Batcher(
            scorer.score,
            self._model_thread,
            self.options.max_batch_size,
            self.options.max_wait_ms / 1000,
            self.options.max_waiting,
            self.metrics.count_forward,
        )
        self._scorer = scorer
        try:
            self._on_ready(scorer)
            await self._batcher.run()
        except Exception:
            logger.exception("The queue has stopped: no request can be answered. Start the server anew.")

    def _loaded(self):
        scorer = self._load()
        scorer.check_statistic(self.options.reward_statistic())
        scorer.warm_up()
        return scorer

    async def _results(self, sequences, statistic):
        return self._scorer.answers(await self._batcher.submit(sequences), statistic)

    def _ready_for(self, num_texts, field):
        if self._scorer is None or self._running.done():
            raise Refusal(503, f"The server is {self.status}: see `GET /health`.", retry_after=5)
        if num_texts > self.options.max_items:
            raise Refusal(
                413, f"{field}: {num_texts} responses in one request, at most {self.options.max_items}. Send several."
            )
        self._batcher.check_room(num_texts)
        return self._scorer

    def _num_waiting(self):
        return self._batcher.num_waiting if self._batcher else 0
