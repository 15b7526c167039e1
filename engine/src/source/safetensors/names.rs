//! From transformers' names of tensors to GGUF's.

use rbee_model::checkpoint::Config;

/// What a tensor of a checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// Under this name in GGUF.
    Is(String),
    /// Not needed: the model computes the same without it.
    Ignored,
    Unknown,
}

/// Parts of a decoder's block that have the same name in all architectures.
const DECODER: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    // GGUF has gate and up under the name of up, as transformers has them in order.
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];
const LLAMA_NORMS: &[(&str, &str)] = &[("post_attention_layernorm", "ffn_norm")];
const GEMMA_NORMS: &[(&str, &str)] = &[
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];
const BERT: &[(&str, &str)] = &[
    ("attention.self.query", "attn_q"),
    ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"),
    ("attention.output.LayerNorm", "attn_output_norm"),
    ("intermediate.dense", "ffn_up"),
    ("output.dense", "ffn_down"),
    ("output.LayerNorm", "layer_output_norm"),
];
const BERT_WHOLE: &[(&str, &str)] = &[
    ("embeddings.word_embeddings", "token_embd"),
    ("embeddings.position_embeddings", "position_embd"),
    ("embeddings.token_type_embeddings", "token_types"),
    ("embeddings.LayerNorm", "token_embd_norm"),
];

/// What a checkpoint's tensor is.
pub fn gguf(config: &Config, name: &str) -> Name {
    let found = match config.architecture {
        "bert" => bert(name),
        architecture => decoder(architecture, config.tied, name),
    };
    found.unwrap_or(Name::Unknown)
}

fn decoder(architecture: &str, tied: bool, name: &str) -> Option<Name> {
    match name {
        "model.embed_tokens.weight" => return Some(Name::Is("token_embd.weight".to_owned())),
        "model.norm.weight" => return Some(Name::Is("output_norm.weight".to_owned())),
        "lm_head.weight" if tied => return Some(Name::Ignored),
        "lm_head.weight" => return Some(Name::Is("output.weight".to_owned())),
        _ => {}
    }
    let (block, part) = block(name.strip_prefix("model.layers.")?)?;
    // Frequencies that older versions saved; they follow from the configuration.
    if part == "self_attn.rotary_emb.inv_freq" {
        return Some(Name::Ignored);
    }
    let norms = if architecture.starts_with("gemma") { GEMMA_NORMS } else { LLAMA_NORMS };
    let (stem, suffix) = part.rsplit_once('.').filter(|(_, s)| matches!(*s, "weight" | "bias"))?;
    let part = lookup(DECODER, stem).or_else(|| lookup(norms, stem))?;
    Some(Name::Is(format!("blk.{block}.{part}.{suffix}")))
}

fn bert(name: &str) -> Option<Name> {
    let name = name.strip_prefix("bert.").unwrap_or(name);
    // Heads of other tasks, and positions that count from 0.
    if name.starts_with("pooler.") || name.starts_with("cls.") || name == "embeddings.position_ids" {
        return Some(Name::Ignored);
    }
    let (stem, suffix) = name.rsplit_once('.')?;
    let suffix = match suffix {
        "weight" | "gamma" => "weight",
        "bias" | "beta" => "bias",
        _ => return None,
    };
    if let Some(whole) = lookup(BERT_WHOLE, stem) {
        return Some(Name::Is(format!("{whole}.{suffix}")));
    }
    let (block, part) = block(stem.strip_prefix("encoder.layer.")?)?;
    Some(Name::Is(format!("blk.{block}.{}.{suffix}", lookup(BERT, part)?)))
}

/// `7.rest` as 7 and `rest`.
fn block(name: &str) -> Option<(u32, &str)> {
    let (number, part) = name.split_once('.')?;
    let plain = number == "0" || !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit());
    Some((number.parse().ok().filter(|_| plain)?, part))
}

fn lookup(table: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(theirs, _)| *theirs == name).map(|&(_, ours)| ours)
}
