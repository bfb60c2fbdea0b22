//! The first ten lines: a budget of 1.00 a day, on the embedded engine.

use costguard::{CostGuard, Decision, Limit, Policy, Subject, Window};

#[tokio::main]
async fn main() -> costguard::Result<()> {
    let guard = CostGuard::embedded(); // or CostGuard::connect("redis://localhost:6379").await?
    let policy = Policy::new([Limit::cost("user", "1.00".parse()?, Window::day())])?;
    let subject = Subject::new("acme").scope("user", "alice");

    for price in ["0.70", "0.30", "0.01"] {
        match guard.admit(&policy, &subject, price.parse::<costguard::Money>()?).await? {
            Decision::Granted(grant) => println!("{price}: granted, {:?} left", grant.limits[0].remaining()),
            Decision::Denied(denial) => println!("{price}: denied, try again in {:?}", denial.retry_after),
        }
    }
    Ok(())
}
