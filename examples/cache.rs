//! A cache in front of an expensive call: computed once, invalidated by a tag.

use std::time::Duration;

use costguard::{CostGuard, Result};

async fn ask_the_provider() -> Result<Vec<String>> {
    println!("asking the provider");
    Ok(vec!["gpt-4o".to_owned(), "claude-sonnet-4-5".to_owned()])
}

#[tokio::main]
async fn main() -> Result<()> {
    let guard = CostGuard::embedded(); // or CostGuard::connect("redis://localhost:6379").await?
    let cache = guard.cache("api");

    cache.set("greeting", "hello").await?;
    println!("{:?}, for {:?}", cache.get::<String>("greeting").await?, cache.ttl("greeting").await?);

    let models = cache.tagged(&["models"]);
    for _ in 0..3 {
        let list = models.get_or_compute("models:list", Duration::from_secs(300), ask_the_provider).await?;
        println!("{list:?}");
    }
    cache.invalidate_tag("models").await?;
    assert!(cache.get::<Vec<String>>("models:list").await?.is_none());
    println!("{:?}", cache.stats());
    Ok(())
}
