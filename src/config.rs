//! `config.yaml`: a default for any flag. Order of precedence: flag, environment, config.yaml, built-in default.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, Command};
use serde_json::Value;

/// Values by the camelCase name of their flag.
pub type Config = BTreeMap<String, String>;

/// Reads the file; one that is not there holds nothing.
pub fn read(path: &Path) -> Result<Config> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Config::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let documents = rbee_yaml::parse_documents(&text, &path.display().to_string())?;
    let mut config = Config::new();
    for document in documents {
        let Value::Object(map) = document.value else { bail!("{}: expected `flagName: value` lines", path.display()) };
        for (key, value) in map {
            let text = match value {
                Value::String(s) => s,
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                _ => bail!("{}: {key}: expected one value", path.display()),
            };
            config.insert(key, text);
        }
    }
    Ok(config)
}

/// Gives every flag its variable, its key in config.yaml and the value that stands there. Keys that no flag has are refused.
pub fn apply(command: Command, config: &Config, path: &Path) -> Result<Command> {
    let mut known = std::collections::BTreeSet::new();
    names(&command, &mut known);
    if let Some(key) = config.keys().find(|k| !known.contains(*k)) {
        bail!("{}: {key}: there is no flag --{}; see `rbee --help`", path.display(), kebab(key));
    }
    Ok(dress(command, config))
}

fn names(command: &Command, known: &mut std::collections::BTreeSet<String>) {
    known.extend(command.get_arguments().filter(|a| takes_config(a)).filter_map(|a| a.get_long()).map(camel));
    command.get_subcommands().for_each(|c| names(c, known));
}

fn dress(command: Command, config: &Config) -> Command {
    let command = command.mut_args(|arg| {
        let Some(long) = arg.get_long().map(str::to_owned).filter(|_| takes_config(&arg)) else { return arg };
        let key = camel(&long);
        let has_env = arg.get_env().is_some();
        let help = arg
            .get_help()
            .map(|h| format!("{h} [config.yaml: {key}]"))
            .unwrap_or_else(|| format!("[config.yaml: {key}]"));
        let mut arg = arg.help(help).hide_env_values(true);
        if !has_env {
            arg = arg.env(format!("RBEE_{}", long.replace('-', "_").to_uppercase()));
        }
        match config.get(&key) {
            Some(value) => arg.default_value(value.clone()).required(false),
            None => arg,
        }
    });
    command.mut_subcommands(|c| dress(c, config))
}

fn takes_config(arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    !matches!(arg.get_action(), ArgAction::Help | ArgAction::Version | ArgAction::HelpShort | ArgAction::HelpLong)
        && !["help", "version"].contains(&id)
}

/// Flags whose key says more than their name.
const KEYS: &[(&str, &str)] = &[("hold", "holdTimeout")];

/// `gateway-listen` → `gatewayListen`.
fn camel(long: &str) -> String {
    if let Some((_, key)) = KEYS.iter().find(|(flag, _)| *flag == long) {
        return (*key).to_owned();
    }
    let mut words = long.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        name + letters.as_str()
    })
}

/// `gatewayListen` → `gateway-listen`.
fn kebab(key: &str) -> String {
    key.chars().fold(String::new(), |mut name, c| {
        if c.is_ascii_uppercase() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("t").subcommand(Command::new("up").arg(Arg::new("g").long("gateway-listen").default_value("a")))
    }

    #[test]
    fn a_key_becomes_the_default_and_the_flag_wins() {
        let config = Config::from([("gatewayListen".to_owned(), "b".to_owned())]);
        let dressed = apply(command(), &config, Path::new("config.yaml")).unwrap();
        let value = |args: &[&str]| {
            let matches = dressed.clone().get_matches_from(args);
            matches.subcommand().unwrap().1.get_one::<String>("g").unwrap().clone()
        };
        assert_eq!(value(&["t", "up"]), "b");
        assert_eq!(value(&["t", "up", "--gateway-listen", "c"]), "c");
    }

    #[test]
    fn a_key_without_a_flag_is_refused() {
        let config = Config::from([("gatewayLisen".to_owned(), "b".to_owned())]);
        let error = apply(command(), &config, Path::new("config.yaml")).unwrap_err().to_string();
        assert!(error.contains("gatewayLisen") && error.contains("--gateway-lisen"), "{error}");
    }

    #[test]
    fn names_go_both_ways() {
        assert_eq!(camel("hive-listen"), "hiveListen");
        assert_eq!(kebab("hiveListen"), "hive-listen");
        assert_eq!(camel("hold"), "holdTimeout");
    }
}
