//! A budget of one dollar a day, on the embedded engine.

use costguard::{CostGuard, Decision, Limit, Money, Policy, Subject, Window};

#[tokio::main]
async fn main() -> costguard::Result<()> {
    let guard = CostGuard::embedded(); // or CostGuard::connect("redis://localhost:6379").await?
    let policy = Policy::new([Limit::cost("user", "1.00".parse()?, Window::day())])?;
    let alice = Subject::new("acme").scope("user", "alice");

    for price in ["0.70", "0.30", "0.01"] {
        match guard.admit(&policy, &alice, price.parse::<Money>()?).await? {
            Decision::Granted(_) => println!("{price}: granted"),
            Decision::Denied(denial) => {
                println!("{price}: denied by {}, retry in {:?}", denial.limit, denial.retry_after)
            }
        }
    }
    Ok(())
}
