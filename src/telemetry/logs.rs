//! The subscriber of the program's log.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// `WINDLASS_LOG` is not a filter.
    #[error(
        "invalid configuration: WINDLASS_LOG: must be a filter such as `info` or `windlass::xds=debug`"
    )]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// `WINDLASS_LOG_FORMAT` names no format.
    #[error("invalid configuration: WINDLASS_LOG_FORMAT: must be `text` or `json`")]
    Format,
    /// There is a subscriber already.
    #[error("the log is set up already")]
    Twice(#[source] Box<dyn Error + Send + Sync>),
}

/// Starts logging to standard error, as `WINDLASS_LOG` (default `info`) and
/// `WINDLASS_LOG_FORMAT` (`text` or `json`) say. Colour goes to a terminal
/// only, and not where `NO_COLOR` is set.
pub fn init(environment: &BTreeMap<String, String>) -> Result<(), LogError> {
    let variable = |name: &str| {
        let value = environment.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    };
    let filter =
        EnvFilter::try_new(variable("WINDLASS_LOG").unwrap_or("info")).map_err(LogError::Filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match variable("WINDLASS_LOG_FORMAT").unwrap_or("text") {
        "text" => {
            let color = variable("NO_COLOR").is_none() && io::stderr().is_terminal();
            builder.with_ansi(color).try_init()
        }
        "json" => builder.json().flatten_event(true).try_init(),
        _ => return Err(LogError::Format),
    }
    .map_err(LogError::Twice)
}

/// An error with all its sources in one line, `a: b: c`, as logs and conditions show it.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl fmt::Display + 'a {
    struct Chain<'a>(&'a (dyn Error + 'static));

    impl fmt::Display for Chain<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.0)?;
            let mut source = self.0.source();
            while let Some(error) = source {
                write!(f, ": {error}")?;
                source = error.source();
            }
            Ok(())
        }
    }

    Chain(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_chain_names_every_source_in_one_line() {
        let error = Outer(io::Error::other("inner"));
        assert_eq!(chain(&error).to_string(), "outer: inner");
    }

    #[test]
    fn a_bad_filter_or_format_names_its_variable() {
        let problem = |name: &str, value: &str| {
            let environment = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            init(&environment).expect_err("it is bad").to_string()
        };
        assert!(problem("WINDLASS_LOG", "windlass=loud").contains("WINDLASS_LOG: must be"));
        assert!(problem("WINDLASS_LOG_FORMAT", "xml").contains("WINDLASS_LOG_FORMAT: must be"));
    }
}
