//! A checkpoint's folder: which of its files are read, and what they say before any weight is.

use super::{Config, ConfigError, FILE_NAME, LIMIT_BYTES, pooling};
use crate::format::{self, UnsupportedFormat};
use crate::gguf::{Summary, of_most_bytes};
use crate::safetensors::{Header, Index, SafetensorsError, limits};
use std::io::{self, ErrorKind, Read};

const SINGLE: &str = "model.safetensors";
const ENDING: &str = ".safetensors";

/// Where a checkpoint's files are.
pub trait Folder {
    type File: Read;
    /// What is kept of a file of weights.
    type Kept;

    /// Whether something of that name is there.
    fn has(&self, name: &str) -> bool;

    /// A regular file and its length in bytes; [`ErrorKind::NotFound`] where there is none.
    ///
    /// # Errors
    /// Why it cannot be opened.
    fn open(&self, name: &str) -> io::Result<(Self::File, u64)>;

    /// Keeps a file of weights whose header was read. Of many files one is open at a time.
    ///
    /// # Errors
    /// Why it cannot be kept.
    fn keep(&self, file: Self::File) -> io::Result<Self::Kept>;

    /// The names of all that lies there.
    fn names(&self) -> impl Iterator<Item = String>;
}

/// A checkpoint whose configuration and headers were read and checked.
pub struct Checkpoint<K> {
    pub config: Config,
    /// What `1_Pooling/config.json` says, if it is there.
    pub pooling: Option<pooling::Mode>,
    pub weights: Vec<Weights<K>>,
}

/// One file of weights.
pub struct Weights<K> {
    pub name: String,
    pub header: Header,
    pub kept: K,
}

/// Why a checkpoint is refused.
#[derive(Debug, thiserror::Error)]
#[error("{file}{}{problem}", if file.is_empty() { "" } else { ": " })]
pub struct CheckpointError {
    /// The file that is wrong, by its name in the folder; empty if it is the folder itself.
    pub file: String,
    #[source]
    pub problem: Problem,
}

/// What is wrong with a file of a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("it cannot be opened: {0}")]
    Open(#[from] io::Error),
    #[error("it has {found} bytes; at most {limit} are read")]
    TooLong { found: u64, limit: u64 },
    #[error("it has no {SINGLE} and no {}", Index::FILE_NAME)]
    NoWeights,
    #[error(transparent)]
    Unsupported(#[from] UnsupportedFormat),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Safetensors(#[from] SafetensorsError),
}

impl Problem {
    /// Whether the checkpoint is sound and of a kind that is not served.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported(_) | Self::Config(ConfigError::Class { .. } | ConfigError::Unsupported { .. }))
    }
}

/// Whether a file's name is that of a checkpoint's weights.
pub fn is_weights(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(ENDING)
}

impl<K> Checkpoint<K> {
    /// Reads a checkpoint's configuration and the headers of its weights: those of its index if it has one, else the file that is
    /// `named` or the usual one.
    ///
    /// # Errors
    /// [`CheckpointError`] names the file and what is wrong with it.
    pub fn read(folder: &impl Folder<Kept = K>, named: Option<&str>) -> Result<Self, CheckpointError> {
        let config = in_file(FILE_NAME, text(folder, FILE_NAME).and_then(|text| Ok(Config::parse(&text)?)))?;
        let pooling = match text(folder, pooling::FILE_NAME) {
            Err(Problem::Open(e)) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            read => Some(in_file(pooling::FILE_NAME, read.and_then(|text| Ok(pooling::parse(&text)?)))?),
        };
        Ok(Self { config, pooling, weights: weights(folder, named)? })
    }

    /// Bytes of all files of weights.
    pub fn bytes(&self) -> u64 {
        saturating_sum(self.weights.iter().map(|w| w.header.file_bytes()))
    }

    /// The model's shape, as a GGUF file of it would state it.
    pub fn summary(&self) -> Summary {
        let config = &self.config;
        let tensors = || self.weights.iter().flat_map(|w| w.header.tensors());
        let elements = |shape: &[u64]| shape.iter().fold(1, |product: u64, &d| product.saturating_mul(d));
        Summary {
            architecture: config.architecture.to_owned(),
            quantization: of_most_bytes(tensors().map(|t| (t.element_type.name(), t.bytes))),
            context_length: config.context_length,
            layer_count: config.block_count,
            parameter_count: saturating_sum(tensors().map(|t| elements(&t.shape))),
            embedding_length: config.embedding_length,
            head_count: config.head_count,
            head_count_kv: config.head_count_kv,
            key_length: config.head_length,
            value_length: config.head_length,
            feed_forward_length: config.feed_forward_length,
            vocab_size: config.vocab_size,
            file_bytes: self.bytes(),
            tensor_bytes: saturating_sum(tensors().map(|t| t.bytes)),
        }
    }
}

/// Files with holes can state more bytes than can be counted.
fn saturating_sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

fn in_file<T>(file: &str, result: Result<T, Problem>) -> Result<T, CheckpointError> {
    result.map_err(|problem| CheckpointError { file: file.to_owned(), problem })
}

/// Opens a file of at most that many bytes.
fn short<F: Folder>(folder: &F, name: &str, limit: u64) -> Result<F::File, Problem> {
    let (file, found) = folder.open(name)?;
    if found > limit { Err(Problem::TooLong { found, limit }) } else { Ok(file) }
}

fn text(folder: &impl Folder, name: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    short(folder, name, LIMIT_BYTES)?.take(LIMIT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn weights<F: Folder>(folder: &F, named: Option<&str>) -> Result<Vec<Weights<F::Kept>>, CheckpointError> {
    let single = named.unwrap_or(SINGLE);
    let index = match folder.has(Index::FILE_NAME) && (named.is_some() || !folder.has(SINGLE)) {
        false => None,
        true => {
            let read = |file: F::File| Ok(Index::read(file)?);
            let index = short(folder, Index::FILE_NAME, limits::INDEX_BYTES).and_then(read);
            // A file beside those of the index is a model of its own.
            Some(in_file(Index::FILE_NAME, index)?).filter(|i| named.is_none() || i.files().iter().any(|f| f == single))
        }
    };
    let names: Vec<&str> = match &index {
        Some(index) => index.files().iter().map(String::as_str).collect(),
        None if folder.has(single) => vec![single],
        None => return Err(no_weights(folder, named)),
    };
    let mut weights = Vec::with_capacity(names.len());
    for name in names {
        let (mut file, bytes) = in_file(name, folder.open(name).map_err(Into::into))?;
        let header = in_file(name, Header::read(&mut file, bytes).map_err(Into::into))?;
        // Before the next is read, so that all files together hold no more tensors than the index.
        if let Some(index) = &index {
            in_file(Index::FILE_NAME, index.check(name, &header).map_err(Into::into))?;
        }
        let kept = in_file(name, folder.keep(file).map_err(Into::into))?;
        weights.push(Weights { name: name.to_owned(), header, kept });
    }
    if let Some(index) = &index {
        let headers: Vec<&Header> = weights.iter().map(|w| &w.header).collect();
        in_file(Index::FILE_NAME, index.check_all(&headers).map_err(Into::into))?;
    }
    Ok(weights)
}

/// The refusal of a folder without the weights, which says so if there are pickles instead.
fn no_weights(folder: &impl Folder, named: Option<&str>) -> CheckpointError {
    if let Some(name) = named {
        return CheckpointError { file: name.to_owned(), problem: Problem::Open(ErrorKind::NotFound.into()) };
    }
    let pickle = folder.names().find_map(|name| format::check_file_name(&name).err());
    CheckpointError { file: String::new(), problem: pickle.map_or(Problem::NoWeights, Problem::Unsupported) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files by name.
    struct Files(Vec<(&'static str, Vec<u8>)>);

    impl Folder for Files {
        type File = io::Cursor<Vec<u8>>;
        type Kept = ();

        fn has(&self, name: &str) -> bool {
            self.0.iter().any(|(n, _)| *n == name)
        }

        fn open(&self, name: &str) -> io::Result<(Self::File, u64)> {
            let (_, bytes) = self.0.iter().find(|(n, _)| *n == name).ok_or(ErrorKind::NotFound)?;
            Ok((io::Cursor::new(bytes.clone()), bytes.len() as u64))
        }

        fn keep(&self, _: Self::File) -> io::Result<()> {
            Ok(())
        }

        fn names(&self) -> impl Iterator<Item = String> {
            self.0.iter().map(|(name, _)| (*name).to_owned())
        }
    }

    const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128,
        "max_position_embeddings": 512, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3,
        "vocab_size": 100}"#;

    fn weights_of(name: &str) -> Vec<u8> {
        let header = format!(r#"{{"{name}": {{"dtype": "BF16", "shape": [4, 2], "data_offsets": [0, 16]}}}}"#);
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat()
    }

    fn refusal(files: Vec<(&'static str, Vec<u8>)>) -> String {
        Checkpoint::read(&Files(files), None).err().expect("a refusal").to_string()
    }

    #[test]
    fn a_checkpoint_in_files_has_the_shape_of_its_configuration_and_the_bytes_of_all() {
        let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
        let files = vec![
            ("config.json", CONFIG.into()),
            ("model.safetensors.index.json", index.into()),
            ("1.safetensors", weights_of("a")),
            ("2.safetensors", weights_of("b")),
        ];
        let checkpoint = Checkpoint::read(&Files(files), None).unwrap();
        let summary = checkpoint.summary();
        let names: Vec<&str> = checkpoint.weights.iter().map(|w| w.name.as_str()).collect();
        assert_eq!(names, ["1.safetensors", "2.safetensors"]);
        assert_eq!((summary.architecture.as_str(), summary.quantization.as_str()), ("llama", "BF16"));
        assert_eq!((summary.layer_count, summary.head_count_kv, summary.key_length), (3, 2, 16));
        assert_eq!((summary.parameter_count, summary.tensor_bytes), (16, 32));
        assert_eq!(summary.file_bytes, 2 * weights_of("a").len() as u64);
    }

    #[test]
    fn a_single_file_comes_before_the_index_and_a_named_one_before_both() {
        let index = r#"{"weight_map": {"a": "1.safetensors"}}"#;
        let files = Files(vec![
            ("config.json", CONFIG.into()),
            ("model.safetensors.index.json", index.into()),
            ("1.safetensors", weights_of("a")),
            ("model.safetensors", weights_of("b")),
            ("other.safetensors", weights_of("c")),
        ]);
        let tensors = |named: Option<&str>| {
            let checkpoint = Checkpoint::read(&files, named).unwrap();
            checkpoint.weights.iter().map(|w| w.header.tensors()[0].name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(tensors(None), ["b"]);
        assert_eq!(tensors(Some("1.safetensors")), ["a"]);
        assert_eq!(tensors(Some("other.safetensors")), ["c"]);
        let missing = Checkpoint::read(&files, Some("gone.safetensors")).err().unwrap().to_string();
        assert!(missing.starts_with("gone.safetensors: it cannot be opened"), "{missing}");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert!(refusal(vec![]).starts_with("config.json: it cannot be opened"));
        let config = || ("config.json", CONFIG.into());
        assert!(refusal(vec![config()]).starts_with("it has no model.safetensors"));
        assert!(refusal(vec![config(), ("pytorch_model.bin", vec![])]).contains("pickle"));
        let cut = weights_of("a")[..20].to_vec();
        assert!(refusal(vec![config(), ("model.safetensors", cut)]).starts_with("model.safetensors: safetensors"));
        let long = vec![b' '; LIMIT_BYTES as usize + 1];
        assert!(refusal(vec![("config.json", long)]).contains("at most"));
        let pooling = ("1_Pooling/config.json", b"{}".to_vec());
        assert!(refusal(vec![config(), pooling]).starts_with("1_Pooling/config.json: "));
    }
}
