//! Values that must never be printed: credentials and device tokens.

use std::fmt;

use serde::Deserialize;

/// A credential. Prints as `Secret(…)`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a credential.
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The credential itself; only for the request that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A device's address at its vendor. Prints as `Token(…)`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(Box<str>);

impl Token {
    /// Wraps a token.
    pub fn new(value: impl Into<Box<str>>) -> Self {
        Token(value.into())
    }

    /// The token itself; only for the request that needs it, and for the store.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_tokens_print_redacted() {
        let printed = format!("{:?} {:?}", Secret::new("hunter2"), Token::new("abc123"));
        assert_eq!(printed, "Secret(…) Token(…)");
    }
}
