//! What several adapters need: secrets, settings, text limits, TLS, HTTP clients, credentials.
//! Nothing here knows a vendor's name.

pub mod h2pool;
pub mod secret;
pub mod settings;
pub mod text;
pub mod tls;
