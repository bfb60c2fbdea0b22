//! A login: the state of an OAuth redirect as a one-time token, then a session, until the user logs out everywhere.

use costguard::{CostGuard, Result};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Login {
    role: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let guard = CostGuard::embedded(); // or CostGuard::connect("redis://localhost:6379").await?

    let states = guard.tokens(&["oauth", "google", "state"]);
    let state = states.issue("/settings").await?; // goes into the URL, and comes back in the callback
    let back_to: Option<String> = states.consume(state.as_str()).await?;
    println!("back to {back_to:?}; again: {:?}", states.consume::<String>(state.as_str()).await?);

    let sessions = guard.sessions();
    let cookie = sessions.create("user_abc", &Login { role: "admin".to_owned() }).await?;
    if let Some(session) = sessions.get::<Login>(cookie.as_str()).await? {
        println!("{} is {} for {:?}", session.user, session.data.role, session.left);
    }
    sessions.revoke_all("user_abc").await?;
    assert!(sessions.get::<Login>(cookie.as_str()).await?.is_none());
    Ok(())
}
