"""Ties: which names are fused."""

from qinspect.planning.ties import fused


def test_attention_and_gates_of_each_block():
    names = [
        f"model.layers.{block}.{part}.weight"
        for block in (0, 10)
        for part in (
            "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
            "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
        )
    ]  # fmt: skip
    at = "model.layers"
    assert fused(names) == [
        tuple(f"{at}.0.self_attn.{p}_proj.weight" for p in "qkv"),
        tuple(f"{at}.0.mlp.{p}_proj.weight" for p in ("gate", "up")),
        tuple(f"{at}.10.self_attn.{p}_proj.weight" for p in "qkv"),
        tuple(f"{at}.10.mlp.{p}_proj.weight" for p in ("gate", "up")),
    ]


def test_other_names_for_the_same():
    bert = [f"encoder.layer.0.attention.self.{part}.weight" for part in ("query", "key", "value")]
    gguf = [f"blk.3.{part}.weight" for part in ("attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up", "ffn_down")]
    experts = [f"experts.{e}.{w}.weight" for e in (0, 1) for w in ("w1", "w2", "w3")]
    assert fused(bert) == [tuple(bert)]
    assert fused(gguf) == [tuple(gguf[:3]), tuple(gguf[3:5])]
    assert fused(experts) == [tuple(f"experts.{e}.{w}.weight" for w in ("w1", "w3")) for e in (0, 1)]


def test_one_alone_is_no_tie():
    assert fused(["h.0.q_proj.weight", "h.1.k_proj.weight", "fc1.weight", "w1"]) == []
    assert fused(["a.q_proj.weight", "a.k_proj.bias"]) == []
