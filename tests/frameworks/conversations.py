"""Conversations, and the tokens that llama.cpp makes of them with the packaged model: all others must agree."""

from engine.work.protocol import ChatMessage

CONVERSATIONS: tuple[tuple[ChatMessage, ...], ...] = (
    (ChatMessage("user", "What is the capital of France?"),),
    (ChatMessage("system", "You answer briefly."), ChatMessage("user", "Name three rivers.")),
    (
        ChatMessage("user", "Count to three."),
        ChatMessage("assistant", "One, two, three."),
        ChatMessage("user", "Now in German: fünf, größer, 你好, 👋🏽, e\u0301."),
    ),
    (ChatMessage("system", ""), ChatMessage("user", "  Spaces, 12345 digits\nand\tlines  ")),
)

TOKENS: tuple[list[int], ...] = (
    [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2,
     198, 1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198],
    [1, 9690, 198, 2683, 2988, 13099, 30, 2, 198, 1, 4093, 198, 5820, 1296, 7626, 30, 2, 198, 1, 520, 9531, 198],
    [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2,
     198, 1, 4093, 198, 9825, 288, 1296, 30, 2, 198, 1, 520, 9531, 198, 2705, 28, 827, 28, 1296, 30, 2, 198, 1,
     4093, 198, 2696, 281, 3697, 42, 275, 7170, 46344, 28, 1665, 7466, 34878, 259, 28, 216, 18645, 250, 48392, 138,
     28, 15107, 235, 229, 10813, 233, 138, 28, 297, 151, 219, 30, 2, 198, 1, 520, 9531, 198],
    [1, 9690, 198, 2, 198, 1, 4093, 3805, 32951, 28, 216, 33, 34, 35, 36, 37, 18638, 198, 397, 197, 5110, 256, 2,
     198, 1, 520, 9531, 198],
)  # fmt: skip
