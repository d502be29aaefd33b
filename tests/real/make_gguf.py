"""Writes a tiny language model with random weights, enough for a real llama.cpp server to start from.

python tests/real/make_gguf.py OUT.gguf
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

CONTEXT = 8192
"""Tokens; a byte is a token, and a judge's prompt has 2,000 bytes before there is anything to judge."""

WIDTH, LAYERS, HEADS, FEED_FORWARD = 48, 2, 4, 96
BOS, EOS, VOCABULARY = 256, 257, 258
SEED = 20240303

NEVER_SAID = "-123456789"
"""Grammars of llama.cpp know no bounds of numbers: the one digit left keeps a judge's score within 0 to 1."""

SAID = "\n" + "".join(chr(code) for code in range(ord(" "), ord("~") + 1) if chr(code) not in NEVER_SAID)
LIKED = '"'
"""Said so often that a string in JSON soon ends."""

LIKING, DISLIKE = 3.0, -20.0

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- message.role + ': ' + message.content + '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"
)
"""Reads messages of every role: a template that ignores system messages is fed them in another way."""


def make_gguf(path: Path, *, seed: int = SEED) -> Path:
    """Write the model to `path` (under 0.5 MB) and return it; the same seed gives the same bytes.

    It is a Llama over bytes: one token for each byte, `<s>` and `</s>`. What it says is noise, but printable
    noise that does not end of itself: it talks until a limit stops it, or a grammar that leaves only `</s>`.
    """
    import gguf  # noqa: PLC0415  # a test dependency: whoever only imports this module may lack it
    import numpy as np  # noqa: PLC0415

    rng = np.random.default_rng(seed)

    def drawn(*shape: int, scale: float = 0.15) -> Any:
        return rng.normal(0.0, scale, shape).astype(np.float16)

    writer = gguf.GGUFWriter(str(path), "llama")
    _describe(writer)
    ones = np.ones(WIDTH, dtype=np.float32)
    embedding = drawn(VOCABULARY, WIDTH, scale=1.0)
    output = drawn(VOCABULARY, WIDTH, scale=1.0)
    # The first component of every hidden state is large, so that an output row's first number is a bias.
    embedding[:, 0] = 8.0
    output[:, 0] = DISLIKE
    output[[ord(character) for character in SAID], 0] = 0.0
    output[ord(LIKED), 0] = LIKING
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", output)
    for layer in range(LAYERS):
        shapes = {
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (WIDTH, WIDTH),
            "attn_v": (WIDTH, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (FEED_FORWARD, WIDTH),
            "ffn_up": (FEED_FORWARD, WIDTH),
            "ffn_down": (WIDTH, FEED_FORWARD),
        }
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", ones)
        for name, shape in shapes.items():
            weights = drawn(*shape)
            if name in {"attn_output", "ffn_down"}:
                weights[0] = 0.0  # no layer adds to the first component
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: Any) -> None:
    """Write the hyperparameters, the vocabulary and the chat template."""
    import gguf  # noqa: PLC0415

    names = _byte_names()
    kinds = gguf.TokenType
    writer.add_name("random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*names, "<s>", "</s>"])
    writer.add_token_types([int(kinds.NORMAL)] * 256 + [int(kinds.CONTROL)] * 2)
    # The loader wants a merge; two NUL bytes never become one token, for there is no such token.
    writer.add_token_merges([f"{names[0]} {names[1]}"])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _byte_names() -> list[str]:
    """Return the printable stand-in of each byte, as GPT-2's vocabulary (and llama.cpp's reader) has it."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    stand_ins = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(stand_ins)) for byte in range(256)]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make_gguf.py OUT.gguf")
    make_gguf(Path(sys.argv[1]))
