//! The shapes that candle-transformers' models take for granted, read from a source and checked.

use crate::LoadError;
use crate::source::Source;
use candle_core::quantized::gguf_file::Value;
use rbee_model::format::FALLBACKS;

/// No size of a model is larger; products of two still fit in 64 bits.
const MAX_SIZE: usize = 1 << 24;

/// What a model is made of.
pub struct Form {
    pub architecture: &'static str,
    pub vocabulary: usize,
    pub embedding: usize,
    /// Most tokens of a sequence.
    pub context_length: usize,
    /// Numbers that a token's keys and values of all layers are.
    pub kv_elements: usize,
    /// Names and shapes, rows first.
    pub tensors: Vec<Part>,
    /// What the model reads of the metadata, but for `context_length`.
    pub metadata: Vec<(String, Value)>,
}

/// A tensor of a model.
pub struct Part {
    pub name: String,
    /// Rows first.
    pub shape: Vec<usize>,
    pub required: bool,
}

impl Form {
    /// Reads the form of one of [`FALLBACKS`].
    ///
    /// # Errors
    /// [`LoadError`] if a setting is missing or not what the model computes.
    pub fn read(source: &Source) -> Result<Self, LoadError> {
        match source.architecture() {
            "phi2" => phi2(&Sizes::read(source)?),
            "glm4" => glm4(&Sizes::read(source)?),
            found => Err(LoadError::Architecture { found: found.to_owned(), supported: FALLBACKS.join(", ") }),
        }
    }
}

struct Sizes<'a> {
    source: &'a Source,
    vocabulary: usize,
    embedding: usize,
    heads: usize,
    kv_heads: usize,
    head: usize,
    feed_forward: usize,
    layers: usize,
    context_length: usize,
    /// Elements of a head that are turned.
    turned: usize,
    base: f64,
}

impl<'a> Sizes<'a> {
    fn read(source: &'a Source) -> Result<Self, LoadError> {
        let settings = source.settings();
        settings.check(source.architecture())?;
        let size = |name: &str| match settings.size(name)? {
            n if n <= MAX_SIZE => Ok(n),
            n => Err(settings.refuse(name, n, format!("at most {MAX_SIZE} is possible"))),
        };
        let optional = |name: &str| settings.number(name)?.map(|_| size(name)).transpose();
        let (embedding, heads) = (size("embedding_length")?, size("attention.head_count")?);
        let kv_heads = optional("attention.head_count_kv")?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(settings.refuse("attention.head_count_kv", kv_heads, format!("{heads} heads cannot share it")));
        }
        let head = match optional("attention.key_length")? {
            Some(length) => length,
            None if embedding.is_multiple_of(heads) => embedding / heads,
            None => {
                return Err(settings.refuse("embedding_length", embedding, format!("{heads} heads cannot share it")));
            }
        };
        if let Some(kind) = settings.text("rope.scaling.type")?.filter(|kind| *kind != "none") {
            return Err(settings.refuse("rope.scaling.type", kind, "scaled positions are not computed for this model"));
        }
        let value = optional("attention.value_length")?.unwrap_or(head);
        if value != head {
            return Err(settings.refuse("attention.value_length", value, format!("only {head}, a key's, is computed")));
        }
        settings.pooling()?;
        Ok(Self {
            source,
            vocabulary: source.vocabulary()?,
            embedding,
            heads,
            kv_heads,
            head,
            feed_forward: size("feed_forward_length")?,
            layers: size("block_count")?.min(1 << 12),
            context_length: size("context_length")?,
            turned: optional("rope.dimension_count")?.unwrap_or(head),
            base: settings.float("rope.freq_base")?.unwrap_or(10_000.0),
        })
    }

    /// The value must be the one that the model computes with.
    fn exactly(&self, name: &str, found: usize, expected: usize) -> Result<(), LoadError> {
        match found == expected {
            true => Ok(()),
            false => Err(self.source.settings().refuse(name, found, format!("only {expected} is computed"))),
        }
    }

    fn epsilon(&self, name: &str) -> Result<f32, LoadError> {
        let epsilon = self.source.settings().float(name)?;
        let missing = || LoadError::MissingSetting(self.source.settings().key(name));
        Ok(epsilon.ok_or_else(missing)? as f32)
    }

    fn form(&self, architecture: &'static str, tensors: Vec<Part>, metadata: Vec<(&str, Value)>) -> Form {
        let sizes = [
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head),
            ("block_count", self.layers),
            ("embedding_length", self.embedding),
            ("rope.dimension_count", self.turned),
        ];
        let sizes = sizes.into_iter().map(|(name, value)| (name, Value::U32(value as u32)));
        let entry = |(name, value): (&str, Value)| (format!("{architecture}.{name}"), value);
        Form {
            architecture,
            vocabulary: self.vocabulary,
            embedding: self.embedding,
            context_length: self.context_length,
            kv_elements: 2 * self.layers * self.kv_heads * self.head,
            tensors,
            metadata: sizes.chain(metadata).map(entry).collect(),
        }
    }
}

fn part(name: impl Into<String>, shape: &[usize]) -> Part {
    Part { name: name.into(), shape: shape.to_vec(), required: true }
}

/// A matrix or a vector with its bias.
fn with_bias(name: &str, shape: &[usize]) -> [Part; 2] {
    [part(format!("{name}.weight"), shape), part(format!("{name}.bias"), &shape[..1])]
}

/// Phi 1 to 2: layer norms, attention and feed-forward side by side, biases everywhere.
fn phi2(sizes: &Sizes<'_>) -> Result<Form, LoadError> {
    /// Positions for which the model makes angles.
    const POSITIONS: usize = 4096;
    let &Sizes { vocabulary, embedding, heads, feed_forward, .. } = sizes;
    sizes.exactly("attention.head_count_kv", sizes.kv_heads, heads)?;
    sizes.exactly("attention.key_length", sizes.head * heads, embedding)?;
    if sizes.base != 10_000.0 {
        return Err(sizes.source.settings().refuse("rope.freq_base", sizes.base, "only 10000 is computed"));
    }
    if sizes.turned > sizes.head || !sizes.turned.is_multiple_of(2) {
        let why = format!("it must be even and at most the length of a head, {}", sizes.head);
        return Err(sizes.source.settings().refuse("rope.dimension_count", sizes.turned, why));
    }
    let mut tensors = vec![part("token_embd.weight", &[vocabulary, embedding])];
    tensors.extend(with_bias("output_norm", &[embedding]));
    tensors.extend(with_bias("output", &[vocabulary, embedding]));
    for layer in 0..sizes.layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        tensors.extend(with_bias(&name("attn_norm"), &[embedding]));
        tensors.extend(with_bias(&name("attn_qkv"), &[3 * embedding, embedding]));
        tensors.extend(with_bias(&name("attn_output"), &[embedding, embedding]));
        tensors.extend(with_bias(&name("ffn_up"), &[feed_forward, embedding]));
        tensors.extend(with_bias(&name("ffn_down"), &[embedding, feed_forward]));
    }
    let epsilon = sizes.epsilon("attention.layer_norm_epsilon")?;
    let form = sizes.form("phi2", tensors, vec![("attention.layer_norm_epsilon", Value::F32(epsilon))]);
    Ok(Form { context_length: sizes.context_length.min(POSITIONS), ..form })
}

/// GLM 4 (0414): norms before and after, half of each head turned.
fn glm4(sizes: &Sizes<'_>) -> Result<Form, LoadError> {
    let &Sizes { vocabulary, embedding, heads, kv_heads, head, feed_forward, .. } = sizes;
    sizes.exactly("rope.dimension_count", sizes.turned, head / 2)?;
    if !sizes.turned.is_multiple_of(2) || sizes.turned == 0 {
        let why = "the half of a head must be an even number";
        return Err(sizes.source.settings().refuse("attention.key_length", head, why));
    }
    let mut tensors = vec![
        part("token_embd.weight", &[vocabulary, embedding]),
        Part { required: false, ..part("output.weight", &[vocabulary, embedding]) },
        part("output_norm.weight", &[embedding]),
    ];
    for layer in 0..sizes.layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        for norm in ["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"] {
            tensors.push(part(name(&format!("{norm}.weight")), &[embedding]));
        }
        for (matrix, rows) in [("attn_q", heads * head), ("attn_k", kv_heads * head), ("attn_v", kv_heads * head)] {
            let [weight, bias] = with_bias(&name(matrix), &[rows, embedding]);
            tensors.extend([weight, Part { required: false, ..bias }]);
        }
        tensors.push(part(name("attn_output.weight"), &[embedding, heads * head]));
        tensors.push(part(name("ffn_up.weight"), &[2 * feed_forward, embedding]));
        tensors.push(part(name("ffn_down.weight"), &[embedding, feed_forward]));
    }
    let epsilon = sizes.epsilon("attention.layer_norm_rms_epsilon")?;
    let metadata = vec![
        ("attention.layer_norm_rms_epsilon", Value::F32(epsilon)),
        ("rope.freq_base", Value::F32(sizes.base as f32)),
    ];
    Ok(sizes.form("glm4", tensors, metadata))
}
