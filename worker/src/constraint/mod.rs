//! Answers of a wanted form: which tokens may follow, by llguidance.
//!
//! [`Grammars`] belongs to a model and compiles what a request asks for into a [`Grammar`], which belongs to one answer. Compiling
//! happens on a thread of its own, within a limit of time, fuel and memory.

mod endless;
mod schema;
mod vocabulary;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::SimpleVob;
use llguidance::{Matcher, ParserFactory};
use rbee_tokenizer::Tokenizer;
use rbee_wire::openai::Constraint;
use rbee_wire::{ApiError, ErrorCode};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

/// A grammar that takes longer to compile is refused.
const PATIENCE: Duration = Duration::from_millis(900);
/// Grammars that are compiled at the same time; one that was given up counts until its fuel ends.
const MAX_COMPILING: usize = 8;
/// Stack of the thread that compiles; llguidance follows references by recursion. Only what is used is taken from memory.
const STACK_BYTES: usize = 256 << 20;
/// Longest message of llguidance that is handed on, in characters.
const MAX_MESSAGE: usize = 300;

/// Why a wanted form is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    #[error("{0}; make it simpler")]
    TooLarge(String),
    #[error("it took longer than {} ms to compile; make it simpler", PATIENCE.as_millis())]
    TooSlow,
    #[error("{0}")]
    Refused(String),
    #[error("too many grammars are being compiled; try again later")]
    Busy,
    #[error("the model's vocabulary cannot be constrained: {0}")]
    Vocabulary(String),
    #[error("cannot start a thread: {0}")]
    Thread(String),
}

impl ConstraintError {
    /// What a client is told whose request asked for the form in `field`.
    pub fn to_api(&self, field: &str) -> ApiError {
        match self {
            Self::TooLarge(_) | Self::TooSlow | Self::Refused(_) => ApiError::invalid(field, self.to_string()),
            Self::Busy => ApiError::new(ErrorCode::AllSlotsBusy, self.to_string()).with_retry_after(1),
            Self::Vocabulary(_) | Self::Thread(_) => ApiError::new(ErrorCode::Internal, self.to_string()),
        }
    }
}

/// A grammar ended in the middle of an answer: it is too large in a way that showed only there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot go on within the wanted form: {0}; make it simpler")]
pub struct Stuck(String);

/// Compiles grammars for one model's vocabulary. What that needs is made at first use.
pub struct Grammars {
    tokenizer: Arc<Tokenizer>,
    factory: OnceLock<Result<Arc<ParserFactory>, ConstraintError>>,
    compiling: Arc<AtomicUsize>,
    patience: Duration,
}

impl Grammars {
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, factory: OnceLock::new(), compiling: Arc::default(), patience: PATIENCE }
    }

    /// Compiles what a request asks for. Blocks, about a second at most besides what the first call makes.
    pub fn compile(&self, constraint: &Constraint) -> Result<Grammar, ConstraintError> {
        let make = || vocabulary::factory(&self.tokenizer).map(Arc::new);
        let factory = self.factory.get_or_init(make).clone()?;
        let lane = Lane::enter(&self.compiling).ok_or(ConstraintError::Busy)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let constraint = constraint.clone();
        let compile = move || {
            let grammar = grammar(&constraint, &factory);
            drop(lane);
            let _ = sender.send(grammar);
        };
        let thread = std::thread::Builder::new().name("grammar".into()).stack_size(STACK_BYTES);
        thread.spawn(compile).map_err(|e| ConstraintError::Thread(e.to_string()))?;
        match receiver.recv_timeout(self.patience) {
            Ok(grammar) => grammar,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(ConstraintError::TooSlow),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(ConstraintError::Refused("it cannot be compiled".into())),
        }
    }
}

fn grammar(constraint: &Constraint, factory: &ParserFactory) -> Result<Grammar, ConstraintError> {
    let grammar = match constraint {
        Constraint::Json => json_schema(&serde_json::json!({"type": "object"}))?,
        Constraint::JsonSchema(schema) => json_schema(schema)?,
        Constraint::Regex(pattern) => TopLevelGrammar::from_regex(whole(pattern)),
    };
    let parser = factory.create_parser(grammar).map_err(|e| refusal(&e))?;
    Grammar::new(Matcher::new(Ok(parser)))
}

/// A place among the grammars that are being compiled.
struct Lane(Arc<AtomicUsize>);

impl Lane {
    fn enter(count: &Arc<AtomicUsize>) -> Option<Self> {
        let lane = Self(count.clone());
        (count.fetch_add(1, Ordering::Relaxed) < MAX_COMPILING).then_some(lane)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn json_schema(schema: &serde_json::Value) -> Result<TopLevelGrammar, ConstraintError> {
    Ok(TopLevelGrammar::from_json_schema(schema::prepare(schema)?))
}

/// A pattern without the anchors that it has anyway.
fn whole(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    match pattern.strip_suffix('$') {
        Some(rest) if rest.chars().rev().take_while(|&c| c == '\\').count() % 2 == 0 => rest,
        _ => pattern,
    }
}

/// llguidance's words, without backtraces and dumps.
fn refusal(error: &impl fmt::Display) -> ConstraintError {
    let text = gist(error);
    match text.split_once("Unimplemented keys: ") {
        Some((_, keys)) => ConstraintError::Refused(format!("these keywords are not supported: {keys}")),
        None => ConstraintError::Refused(text),
    }
}

/// The line that says what is wrong: of regular expressions that is not the first one.
fn gist(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let first = lines.next().unwrap_or("it cannot be compiled");
    let line = match lines.find_map(|l| l.strip_prefix("error: ")) {
        Some(what) => format!("invalid regular expression: {what}"),
        None if first == "NoExtensionBias" => "no token of the vocabulary fits".into(),
        None => first.to_owned(),
    };
    line.chars().take(MAX_MESSAGE).collect()
}

/// Where one answer stands in its grammar. A clone is at the same place and goes its own way.
#[derive(Clone)]
pub struct Grammar {
    matcher: Matcher,
    /// The tokens that may follow, if they are known already.
    mask: Option<SimpleVob>,
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammar(…)")
    }
}

impl Grammar {
    /// The first mask is computed here: it is the dearest one, and shows whether anything fits at all.
    fn new(matcher: Matcher) -> Result<Self, ConstraintError> {
        let mut grammar = Self { matcher, mask: None };
        match grammar.mask() {
            Ok(_) => Ok(grammar),
            Err(Stuck(why)) => Err(ConstraintError::Refused(format!("no answer can begin: {why}"))),
        }
    }

    /// The tokens that may follow, bit n % 32 of word n / 32 for token n. End tokens are among them where the answer may end.
    pub fn mask(&mut self) -> Result<&[u32], Stuck> {
        if self.mask.is_none() {
            self.mask = Some(self.matcher.compute_mask().map_err(|e| Stuck(gist(&e)))?);
        }
        Ok(self.mask.as_ref().map_or(&[], SimpleVob::as_slice))
    }

    /// The answer goes on with a token of the mask, which is no end token. True if nothing can follow.
    pub fn accept(&mut self, token: u32) -> Result<bool, Stuck> {
        self.mask = None;
        self.matcher.consume_token(token).map_err(|e| Stuck(gist(&e)))?;
        Ok(self.matcher.is_stopped())
    }
}

#[cfg(test)]
mod tests;
