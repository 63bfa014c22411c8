"""A model of 260 KB for llama.cpp: one layer, random weights. Runs in the environment of `llama`, not in ours.

    python llama_model.py PATH

It says anything, some ten thousand tokens a second, one for each byte.
"""

import sys

import gguf
import numpy as np

LETTERS, WIDTH, HEADS = 256, 64, 2
SPECIAL = (b"<unk>", b"<s>", b"</s>")
TEMPLATE = "{% for one in messages %}{{ one.role }}: {{ one.content }}\n{% endfor %}assistant: "


def make(path: str) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2_000_000)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    letters = [f"<0x{letter:02X}>".encode() for letter in range(LETTERS)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*SPECIAL, *letters])
    writer.add_token_scores([0.0] * (len(SPECIAL) + LETTERS))
    writer.add_token_types([*kinds, *([gguf.TokenType.BYTE] * LETTERS)])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(1)
    words = (len(SPECIAL) + LETTERS, WIDTH)
    square = (WIDTH, WIDTH)
    shapes = {"token_embd": words, "output": words}
    shapes |= {f"blk.0.{name}": square for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    shapes |= {f"blk.0.{name}": square for name in ("ffn_gate", "ffn_up", "ffn_down")}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", (random.standard_normal(shape) * 0.1).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


make(sys.argv[1])
