//! How much memory is set aside for one replica.

use rbee_crds::WorkerSpec;
use rbee_crds::model::Gguf;
use rbee_model::gguf::Summary;
use rbee_model::memory::{DEFAULT_CONTEXT_LENGTH, estimate};

/// A memory quantity that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantityError {
    pub value: String,
}

impl std::fmt::Display for QuantityError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is no amount of memory; examples: 512Mi, 6Gi, 1500M", self.value)
    }
}

impl std::error::Error for QuantityError {}

/// Bytes of a Kubernetes quantity such as `6Gi`, `1.5G` or `100000`; fractions of a byte are rounded up.
///
/// # Errors
/// [`QuantityError`] for anything else.
pub fn parse_memory(value: &str) -> Result<u64, QuantityError> {
    const UNITS: [(&str, u64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let error = || QuantityError { value: value.to_owned() };
    let (number, unit) =
        UNITS.iter().find_map(|(suffix, unit)| Some((value.strip_suffix(suffix)?, *unit))).unwrap_or((value, 1));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| (1..=19).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(error());
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| error())?);
    let parse = |s: &str| s.parse::<u128>().map_err(|_| error());
    let scaled = (parse(whole)? * scale + parse(fraction)?) * u128::from(unit);
    u64::try_from(scaled.div_ceil(scale)).map_err(|_| error())
}

/// What to set aside for one replica of this Worker, in bytes: `resources.memory` if it is given, else the estimate for the
/// model's shape, its slots and its context. Without a shape it is 1.2 times the file, and 0 if nothing is known.
///
/// # Errors
/// [`QuantityError`] if `resources.memory` cannot be read.
pub fn memory_need(spec: &WorkerSpec, model: &Gguf) -> Result<u64, QuantityError> {
    if let Some(memory) = spec.resources.as_ref().and_then(|r| r.memory.as_deref()) {
        return parse_memory(memory);
    }
    let summary = summary(model);
    let slots = u64::try_from(spec.slots()).unwrap_or(1);
    let own = summary.context_length.min(DEFAULT_CONTEXT_LENGTH);
    let context = spec.context_length.and_then(|n| u64::try_from(n).ok()).unwrap_or(own);
    if summary.file_bytes == 0 {
        return Ok(0);
    }
    Ok(estimate(&summary, slots, context).total)
}

fn summary(model: &Gguf) -> Summary {
    let number = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let heads = number(model.head_count);
    let head = number(model.embedding_length).checked_div(heads).unwrap_or(0);
    let key_length = if model.key_length.is_some() { number(model.key_length) } else { head };
    Summary {
        architecture: model.architecture.clone().unwrap_or_default(),
        quantization: model.quantization.clone().unwrap_or_default(),
        context_length: number(model.context_length),
        layer_count: number(model.layer_count),
        parameter_count: number(model.parameter_count),
        embedding_length: number(model.embedding_length),
        head_count: heads,
        head_count_kv: if model.head_count_kv.is_some() { number(model.head_count_kv) } else { heads },
        key_length,
        value_length: if model.value_length.is_some() { number(model.value_length) } else { key_length },
        feed_forward_length: number(model.feed_forward_length),
        vocab_size: number(model.vocab_size),
        file_bytes: number(model.file_bytes),
        tensor_bytes: number(model.tensor_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbee_crds::worker::{ModelRef, Resources};

    #[test]
    fn quantities_are_those_of_kubernetes() {
        for (text, bytes) in
            [("0", 0), ("1024", 1024), ("6Gi", 6 << 30), ("1.5G", 1_500_000_000), ("100M", 100_000_000), ("0.1Ki", 103)]
        {
            assert_eq!(parse_memory(text), Ok(bytes), "{text}");
        }
        for text in ["", "Gi", "-1", "1,5G", "1e3", "6 Gi", "6gi", "99999999999999999999", "9999999999999999999Ti"] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
        assert!(parse_memory("six").unwrap_err().to_string().contains("6Gi"));
    }

    fn spec(memory: Option<&str>) -> WorkerSpec {
        WorkerSpec {
            model_ref: ModelRef { name: "bee".into() },
            replicas: None,
            autoscaling: None,
            backend: None,
            device: None,
            hive_selector: None,
            hive_name: None,
            slots: Some(2),
            context_length: None,
            idle_timeout: None,
            resources: memory.map(|m| Resources { memory: Some(m.into()) }),
            rollout_strategy: None,
            on_hive_lost: None,
            hive_lost_timeout: None,
            suspend: None,
        }
    }

    #[test]
    fn what_is_asked_for_comes_before_the_estimate() {
        let model = Gguf {
            context_length: Some(2048),
            layer_count: Some(22),
            embedding_length: Some(2048),
            head_count: Some(32),
            head_count_kv: Some(4),
            vocab_size: Some(32_000),
            file_bytes: Some(600_000_000),
            tensor_bytes: Some(599_000_000),
            ..Gguf::default()
        };
        assert_eq!(memory_need(&spec(Some("1Gi")), &model), Ok(1 << 30));
        let estimated = memory_need(&spec(None), &model).unwrap();
        assert!((720_000_000..2_000_000_000).contains(&estimated), "{estimated}");
        let shorter = WorkerSpec { context_length: Some(256), ..spec(None) };
        assert!(memory_need(&shorter, &model).unwrap() < estimated);
        assert_eq!(memory_need(&spec(None), &Gguf::default()), Ok(0));
    }
}
