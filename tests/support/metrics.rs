//! Values of the served metrics.

use super::Server;

impl Server {
    /// Sum of all series of a metric; 0 if there is none. A name with labels, as printed, selects that series alone.
    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").await.text().await.expect("the answer is whole");
        let lines = metrics.lines().filter_map(|line| line.rsplit_once(' '));
        let figures = lines.filter(|(of, _)| *of == name || of.split('{').next() == Some(name)).map(|(_, figure)| figure);
        figures.map(|figure| figure.parse::<f64>().expect("figures are numbers")).sum()
    }
}
