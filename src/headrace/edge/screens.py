"""The gateway screen: is every device read in time, and does everything that was read arrive."""

from headrace.kernel.messages import Text
from headrace.ui import GatewayHealth, HistoryStats, Row, Screen, WriteAudit

SCREENS = (
    Screen(
        id="gateway",
        path="/gateway",
        title=Text(zh="网关健康", en="Gateway health"),
        icon="gateway",
        order=50,
        rows=(
            Row((GatewayHealth(),)),
            Row((HistoryStats(title=Text(zh="历史存储", en="History")),)),
            Row((WriteAudit(title=Text(zh="写入记录", en="Writes")),)),
        ),
    ),
)
