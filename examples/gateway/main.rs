//! An OpenAI-compatible gateway that spends from its users' budgets, in front of a model that costs nothing.
//!
//! ```sh
//! cargo run --features http,metrics --example gateway [-- --url redis://localhost:6379] [--listen 127.0.0.1:8080]
//!
//! curl -iN localhost:8080/v1/chat/completions -H 'x-user: alice' -H 'content-type: application/json' \
//!     -d '{"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "Say this again, please"}]}'
//! ```

mod model;
mod router;

use std::error::Error;
use std::time::Duration;

use axum::Router;
use costguard::{CostGuard, Policy, PriceCatalogue};
use metrics_exporter_prometheus::PrometheusBuilder;
use router::Gateway;
use tokio::net::TcpListener;

const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gateway.toml");
const PRICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/prices.json");

/// The bounds of the histogram of durations.
const BUCKETS_S: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

/// Between two words of the model.
const PAUSE: Duration = Duration::from_millis(100);

/// How long holds have to end when the gateway stops.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

struct Options {
    /// The store.
    url: String,
    /// Where the gateway listens.
    listen: String,
}

impl Options {
    fn read() -> Result<Self, String> {
        let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "memory:".to_owned());
        let mut options = Self { url, listen: "127.0.0.1:8080".to_owned() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let option = match word.as_str() {
                "--url" => &mut options.url,
                "--listen" => &mut options.listen,
                _ => return Err(format!("unknown option {word}; there are --url URL and --listen ADDRESS")),
            };
            *option = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Options { url, listen } = Options::read()?;
    let metrics = PrometheusBuilder::new().set_buckets(&BUCKETS_S)?.install_recorder()?;
    costguard::metrics::describe();
    let guard = CostGuard::connect(&url).await?;
    let (policy, prices) = (Policy::from_file(POLICY)?, PriceCatalogue::from_file(PRICES)?);

    let model = TcpListener::bind("127.0.0.1:0").await?;
    let model_url = format!("http://{}/v1/chat/completions", model.local_addr()?).parse()?;
    tokio::spawn(async move { axum::serve(model, model::router(PAUSE)).await });

    let listener = TcpListener::bind(&listen).await?;
    println!("listening on http://{}, spending on {}", listener.local_addr()?, guard.store().describe());
    let app: Router = router::router(Gateway { guard: guard.clone(), policy, prices, model_url, metrics });
    let stop = async { tokio::signal::ctrl_c().await.unwrap_or_else(|err| eprintln!("cannot wait for ctrl-c: {err}")) };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;

    match guard.shutdown(SHUTDOWN_LIMIT).await {
        0 => Ok(()),
        left => Err(format!("{left} holds could not be ended and will expire").into()),
    }
}
