//! Scripts on a Redis or Valkey server.
