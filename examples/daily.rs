//! The daily cost guard: one assessment a user and day, and nothing once $75 are spent.

use costguard::service::DailyStart;
use costguard::{CostGuard, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let guard = CostGuard::embedded(); // or CostGuard::connect("redis://localhost:6379").await?
    let daily = guard.daily().limit(2).cap_cents(7500);

    for cents in [420, 7_100, 15] {
        match daily.try_start("user_abc").await? {
            DailyStart::Granted(state) => {
                let spent = daily.increment_cost("user_abc", cents).await?; // what it came to
                println!("started; {} more today, {spent} cents spent", state.starts_left);
            }
            DailyStart::Denied { by, state } => println!("denied by {by:?} until {}", state.resets_at),
        }
    }
    assert_eq!((daily.count("user_abc").await?, daily.cost("user_abc").await?), (2, 7_520));
    Ok(())
}
