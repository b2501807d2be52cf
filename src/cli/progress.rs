//! Live progress on a terminal: one line for each domain at work, gone when it has ended.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use super::args::Global;
use crate::name::DnsName;
use crate::pipeline::{Event, News, Progress};

/// Shows the events of a run until it is told to finish
pub(super) struct Watcher {
    progress: Progress,
    task: Option<JoinHandle<()>>,
}

impl Watcher {
    /// A watcher on a terminal, a silent one elsewhere
    pub(super) fn start(global: &Global) -> Self {
        if !global.shows_progress() {
            return Self {
                progress: Progress::default(),
                task: None,
            };
        }
        let (sender, events) = unbounded_channel();
        Self {
            progress: Progress::to(sender),
            task: Some(tokio::spawn(show(events))),
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Clears the lines, so that the report stands alone
    pub(super) async fn finish(self) {
        drop(self.progress);
        if let Some(task) = self.task {
            // A watcher that panicked has nothing left to clear.
            let _ = task.await;
        }
    }
}

async fn show(mut events: UnboundedReceiver<Event>) {
    let screen = MultiProgress::new();
    let mut lines: HashMap<DnsName, ProgressBar> = HashMap::new();
    while let Some(event) = events.recv().await {
        match event.news {
            News::Begun(stage) => {
                let line = lines
                    .entry(event.domain.clone())
                    .or_insert_with(|| line(&screen, &event.domain));
                line.set_message(stage.as_str());
            }
            News::Ended => {
                if let Some(line) = lines.remove(&event.domain) {
                    line.finish_and_clear();
                }
            }
        }
    }
    // The terminal is gone: so is what was drawn on it.
    let _ = screen.clear();
}

fn line(screen: &MultiProgress, domain: &DnsName) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}  {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let line = screen.add(ProgressBar::new_spinner().with_style(style));
    line.set_prefix(domain.to_string());
    line.enable_steady_tick(TICK);
    line
}

const TICK: Duration = Duration::from_millis(120);
