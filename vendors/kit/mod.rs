//! What several adapters need: secrets, settings, text limits, TLS, HTTP clients, credentials.
//! Nothing here knows a vendor's name.

pub mod codes;
pub mod credential;
pub mod h2pool;
pub mod http1;
pub mod quota_day;
pub mod secret;
pub mod settings;
pub mod tap;
pub mod text;
pub mod tls;
