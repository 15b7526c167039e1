//! What the steps of a tokenizer.json may make of a text, found from the file alone: kinds that are known, and bounds for how
//! much longer a text can get.

use serde_json::Value;

/// Steps in a part, sequences not counted.
const MOST_STEPS: usize = 32;
/// Sequences in sequences.
const MOST_DEPTH: usize = 4;
/// Bytes of a text that a step puts in or looks for.
const MOST_TEXT: usize = 1 << 10;
/// Bytes of the expressions of all steps of a part.
const MOST_EXPRESSIONS: usize = 4 << 10;
/// Look-arounds, references and possessive repetitions in the expressions of a part. The library compiles what stands between
/// them by itself, with a bound of 10 MB for each piece.
const MOST_JOINTS: usize = 12;
/// How many times longer a text may get, and how many bytes besides.
const MOST_GROWTH: Growth = Growth { times: 256, plus: 64 << 10 };
/// Tokens that go around a text.
const MOST_AROUND: usize = 16;

/// Kinds of steps besides `Sequence`.
struct Part {
    name: &'static str,
    /// Where a sequence has its steps.
    list: &'static str,
    kinds: &'static [&'static str],
}

const NORMALIZER: Part = Part {
    name: "normalizer",
    list: "normalizers",
    kinds: &[
        "BertNormalizer",
        "ByteLevel",
        "Lowercase",
        "NFC",
        "NFD",
        "NFKC",
        "NFKD",
        "Nmt",
        "Precompiled",
        "Prepend",
        "Replace",
        "Strip",
        "StripAccents",
    ],
};

const PRE_TOKENIZER: Part = Part {
    name: "pre_tokenizer",
    list: "pretokenizers",
    kinds: &[
        "BertPreTokenizer",
        "ByteLevel",
        "Digits",
        "FixedLength",
        "Metaspace",
        "Punctuation",
        "Split",
        "UnicodeScripts",
        "Whitespace",
        "WhitespaceSplit",
    ],
};

const POST_PROCESSOR: Part = Part {
    name: "post_processor",
    list: "processors",
    kinds: &["BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing"],
};

const DECODER: Part = Part {
    name: "decoder",
    list: "decoders",
    kinds: &["ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace", "Strip", "WordPiece"],
};

/// A text of n bytes has at most `times` n + `plus` after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    pub times: usize,
    pub plus: usize,
}

impl Growth {
    pub const NONE: Self = Self { times: 1, plus: 0 };

    fn times(times: usize) -> Self {
        Self { times, plus: 0 }
    }

    /// This one, and then another.
    pub fn then(self, next: Self) -> Self {
        let plus = self.plus.saturating_mul(next.times).saturating_add(next.plus);
        Self { times: self.times.saturating_mul(next.times), plus }
    }

    /// The most bytes that a text of so many can get.
    pub fn of(self, bytes: usize) -> usize {
        bytes.saturating_mul(self.times).saturating_add(self.plus)
    }

    /// An error if a text could get too long.
    pub fn check(self) -> Result<Self, String> {
        let Self { times, plus } = MOST_GROWTH;
        if self.times <= times && self.plus <= plus {
            return Ok(self);
        }
        Err(format!(
            "its steps can make a text {} times longer and {} bytes more; at most {times} times and {plus} bytes are possible",
            self.times, self.plus
        ))
    }
}

/// How tokens are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Writing {
    pub byte_level: bool,
    pub word_piece: bool,
    pub byte_fallback: bool,
}

/// How much longer the normalizer can make a text.
pub fn normalizer(value: &Value) -> Result<Growth, String> {
    let mut all = Growth::NONE;
    let mut expressions = Expressions::default();
    NORMALIZER.each(value, &mut |kind, step| {
        all = all.then(match kind {
            "Prepend" => Growth { times: 1, plus: text(step, "prepend")?.len() },
            "Replace" => {
                let content = text(step, "content")?.len();
                match pattern(step)? {
                    Pattern::Text("") => return Err("a Replace looks for nothing".to_owned()),
                    Pattern::Text(text) => Growth::times(content.div_ceil(text.len()).max(1)),
                    Pattern::Expression(expression) => {
                        expressions.take(expression)?;
                        // It may match at every byte without taking any.
                        Growth { times: 1 + content, plus: content }
                    }
                }
            }
            "Precompiled" => Growth::times(longest_of(step)?),
            // Unicode's own bounds for UTF-8.
            "NFC" | "NFD" => Growth::times(3),
            "NFKC" | "NFKD" => Growth::times(11),
            "Lowercase" | "ByteLevel" => Growth::times(2),
            // Decomposed, in lower case, and with blanks around Chinese characters.
            "BertNormalizer" => Growth::times(3 * 2 * 2),
            _ => Growth::NONE,
        });
        all.check().map(drop)
    })?;
    Ok(all)
}

/// How much longer the pre-tokenizer can make a text.
pub fn pre_tokenizer(value: &Value) -> Result<Growth, String> {
    let mut all = Growth::NONE;
    let mut expressions = Expressions::default();
    PRE_TOKENIZER.each(value, &mut |kind, step| {
        all = all.then(match kind {
            "ByteLevel" => Growth { times: 2, plus: 2 },
            "Metaspace" => {
                let length = text(step, "replacement")?.len();
                Growth { times: length.max(1), plus: length }
            }
            "Split" => {
                match pattern(step)? {
                    Pattern::Text("") => return Err("a Split looks for nothing".to_owned()),
                    Pattern::Text(_) => {}
                    Pattern::Expression(expression) => expressions.take(expression)?,
                }
                Growth::NONE
            }
            "FixedLength" if step.get("length").is_some_and(|length| length == 0) => {
                return Err("a FixedLength has the length 0".to_owned());
            }
            _ => Growth::NONE,
        });
        all.check().map(drop)
    })?;
    Ok(all)
}

/// How the decoder reads tokens.
pub fn decoder(value: &Value) -> Result<Writing, String> {
    let mut writing = Writing::default();
    DECODER.each(value, &mut |kind, _| {
        writing.byte_level |= kind == "ByteLevel";
        writing.word_piece |= kind == "WordPiece";
        writing.byte_fallback |= kind == "ByteFallback";
        Ok(())
    })?;
    Ok(writing)
}

/// The tokens that the post-processor puts before and after a text.
pub fn post_processor(value: &Value) -> Result<(Vec<u32>, Vec<u32>), String> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    POST_PROCESSOR.each(value, &mut |kind, step| {
        match kind {
            "TemplateProcessing" => {
                let (first, last) = template(step)?;
                before.splice(0..0, first);
                after.extend(last);
            }
            "BertProcessing" | "RobertaProcessing" => {
                let id = |name: &str| step.get(name).and_then(|pair| id(pair.get(1)?)).ok_or_else(|| odd(kind, name));
                before.insert(0, id("cls")?);
                after.push(id("sep")?);
            }
            _ => {}
        }
        if before.len() + after.len() > MOST_AROUND {
            return Err(format!("the post_processor adds more than {MOST_AROUND} tokens"));
        }
        Ok(())
    })?;
    Ok((before, after))
}

impl Part {
    /// Gives every step with its kind, in order.
    fn each(&self, value: &Value, take: &mut dyn FnMut(&str, &Value) -> Result<(), String>) -> Result<(), String> {
        let mut left = MOST_STEPS;
        self.steps(value, MOST_DEPTH, &mut left, take)
    }

    fn steps(
        &self,
        value: &Value,
        depth: usize,
        left: &mut usize,
        take: &mut dyn FnMut(&str, &Value) -> Result<(), String>,
    ) -> Result<(), String> {
        let name = self.name;
        let kind =
            value.get("type").and_then(Value::as_str).ok_or_else(|| format!("a step of the {name} has no type"))?;
        if kind == "Sequence" {
            let inner = value.get(self.list).and_then(Value::as_array).ok_or_else(|| odd("Sequence", self.list))?;
            let depth =
                depth.checked_sub(1).ok_or_else(|| format!("the {name} has sequences more than {MOST_DEPTH} deep"))?;
            return inner.iter().try_for_each(|step| self.steps(step, depth, left, take));
        }
        if !self.kinds.contains(&kind) {
            let known = self.kinds.join(", ");
            return Err(format!("the {name} {:?} is not supported; supported: Sequence, {known}", shortened(kind)));
        }
        *left = left.checked_sub(1).ok_or_else(|| format!("the {name} has more than {MOST_STEPS} steps"))?;
        take(kind, value)
    }
}

/// What a step looks for.
enum Pattern<'a> {
    Text(&'a str),
    Expression(&'a str),
}

fn pattern(step: &Value) -> Result<Pattern<'_>, String> {
    let pattern = step.get("pattern").and_then(Value::as_object).filter(|p| p.len() == 1);
    let (kind, text) = pattern.and_then(|p| p.iter().next()).ok_or_else(|| odd("Split or Replace", "pattern"))?;
    match (kind.as_str(), text.as_str()) {
        ("String", Some(text)) if text.len() <= MOST_TEXT => Ok(Pattern::Text(text)),
        ("String", Some(text)) => {
            Err(format!("a step looks for {} bytes; at most {MOST_TEXT} are possible", text.len()))
        }
        ("Regex", Some(expression)) => Ok(Pattern::Expression(expression)),
        _ => Err(odd("Split or Replace", "pattern")),
    }
}

/// Adds up the expressions of a part.
#[derive(Default)]
struct Expressions {
    bytes: usize,
    joints: usize,
}

impl Expressions {
    fn take(&mut self, expression: &str) -> Result<(), String> {
        self.bytes += expression.len();
        self.joints += expression.as_bytes().windows(3).filter(|three| is_joint(three)).count();
        if self.bytes > MOST_EXPRESSIONS {
            return Err(format!("its expressions have more than {MOST_EXPRESSIONS} bytes"));
        }
        if self.joints > MOST_JOINTS {
            let what = "look-arounds, references or possessive repetitions";
            return Err(format!("its expressions have more than {MOST_JOINTS} {what}"));
        }
        Ok(())
    }
}

/// Whether an expression is compiled in pieces here: a group that is neither plain nor has flags only, a reference, or a
/// possessive repetition. It may count one too many in a set of characters.
fn is_joint(three: &[u8]) -> bool {
    match three {
        [b'(', b'?', kind] => !b":imsxuU-".contains(kind),
        [b'\\', kind, _] => kind.is_ascii_digit() || b"kgGK".contains(kind),
        [b'*' | b'+' | b'?' | b'}', b'+', _] => true,
        _ => false,
    }
}

/// A text of a step.
fn text<'a>(step: &'a Value, name: &str) -> Result<&'a str, String> {
    let text = step.get(name).and_then(Value::as_str).ok_or_else(|| odd("a step", name))?;
    if text.len() > MOST_TEXT {
        return Err(format!("a {name} has {} bytes; at most {MOST_TEXT} are possible", text.len()));
    }
    Ok(text)
}

/// The longest text that a table of SentencePiece puts in the place of a character. Behind the length and the bytes of a tree
/// these texts stand with zeros between them.
fn longest_of(step: &Value) -> Result<usize, String> {
    use base64::Engine;
    let broken = || odd("Precompiled", "precompiled_charsmap");
    let coded = step.get("precompiled_charsmap").and_then(Value::as_str).ok_or_else(broken)?;
    let table = base64::engine::general_purpose::STANDARD.decode(coded).map_err(|_| broken())?;
    let (length, rest) = table.split_first_chunk::<4>().ok_or_else(broken)?;
    let texts = rest.get(u32::from_le_bytes(*length) as usize..).ok_or_else(broken)?;
    Ok(texts.split(|&byte| byte == 0).map(<[u8]>::len).max().unwrap_or(0).max(1))
}

/// The tokens of a template for one text, before it and after it.
fn template(step: &Value) -> Result<(Vec<u32>, Vec<u32>), String> {
    let broken = |name: &str| odd("TemplateProcessing", name);
    let single = step.get("single").and_then(Value::as_array).ok_or_else(|| broken("single"))?;
    let (mut before, mut after) = (Vec::new(), None::<Vec<u32>>);
    for piece in single.iter() {
        if let Some(token) = piece.get("SpecialToken") {
            let name = token.get("id").and_then(Value::as_str).ok_or_else(|| broken("single"))?;
            let special = step.get("special_tokens").and_then(|tokens| tokens.get(name)?.get("ids")?.as_array());
            let special = special.filter(|ids| ids.len() <= MOST_AROUND).ok_or_else(|| broken("special_tokens"))?;
            let ids: Option<Vec<u32>> = special.iter().map(id).collect();
            after.as_mut().unwrap_or(&mut before).extend(ids.ok_or_else(|| broken("special_tokens"))?);
            if before.len().max(after.as_ref().map_or(0, Vec::len)) > MOST_AROUND {
                return Err(format!("the post_processor adds more than {MOST_AROUND} tokens"));
            }
        } else if piece.pointer("/Sequence/id").is_some_and(|id| id == "A") && after.is_none() {
            after = Some(Vec::new());
        } else {
            return Err(broken("single"));
        }
    }
    Ok((before, after.ok_or_else(|| broken("single"))?))
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn odd(kind: &str, name: &str) -> String {
    format!("the {name} of {kind} is missing or cannot be used")
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
