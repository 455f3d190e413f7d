//! Plots in SVG: each peer's median, with its range over the rounds.

use std::error::Error;
use std::path::Path;

use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::figures::Figure;
use crate::statistics::middle;

const SIZE: (u32, u32) = (720, 400);
const FONT: (&str, u32) = ("sans-serif", 15);

/// What is drawn: scene, measure, title, and what the scene varies.
const DRAWN: [(&str, &str, &str, &str); 21] = [
    ("orders", "CPU per order", "CPU of a signed, kept-alive order", "connections"),
    ("orders", "rate", "Signed, kept-alive orders on one core", "connections"),
    ("latency", "added p50", "Latency added to a direct call, p50", "orders/s"),
    ("latency", "p99", "Latency from when an order was due, p99", "orders/s"),
    ("cold orders, full", "CPU per order", "CPU of a cold order: whole handshake", ""),
    ("cold orders, resumed", "CPU per order", "CPU of a cold order: session tickets", ""),
    ("bulk tunnel", "CPU per GB", "CPU of bytes through tunnels", "tunnels at once"),
    ("CONNECT", "CPU per connect", "CPU of a tunnel that is opened, used for a byte and closed", ""),
    ("idle tunnel", "memory", "Memory of an idle tunnel", ""),
    ("idle caller", "memory", "Memory of an idle kept-alive caller", ""),
    ("stream latency", "added p50", "Latency of a stream's message, added to a direct way, p50", "messages/s"),
    ("stream latency", "added p99", "Latency of a stream's message, added to a direct way, p99", "messages/s"),
    ("stream flood", "CPU per message", "CPU of a stream's message, as fast as they go", "sockets"),
    ("idle stream", "memory", "Memory of an idle stream", ""),
    ("growth", "CPU per order", "CPU of an order by the number of accounts", "accounts"),
    ("growth", "memory when idle", "Memory by the number of accounts", "accounts"),
    ("growth", "start to first order", "From the start to the first order", "accounts"),
    ("growth", "a reload", "A reload of the configuration", "accounts"),
    ("growth", "p99 while disturbed", "p99 under reloads and changes of accounts", "accounts"),
    (
        "port cliff",
        "CPU per cold order",
        "CPU of a cold order by ended connections on its address",
        "sockets in TIME_WAIT",
    ),
    ("port cliff", "CPU per tunnel", "CPU of a tunnel by ended connections on its address", "sockets in TIME_WAIT"),
];

/// One that was drawn.
pub(crate) struct Plot {
    pub title: &'static str,
    pub file: String,
}

/// One peer's values over what is varied: least, median and most.
struct Line {
    peer: String,
    points: Vec<(f64, [f64; 3])>,
}

/// Draw all for which there are figures, into `dir`.
pub(crate) fn draw_all(dir: &Path, figures: &[Figure]) -> Vec<Plot> {
    let mut plots = Vec::new();
    for (scene, measure, title, varied) in DRAWN {
        let of_it: Vec<&Figure> = figures.iter().filter(|f| f.scene == scene && f.measure == measure).collect();
        let Some(unit) = of_it.first().map(|figure| figure.unit.as_str()) else { continue };
        let file = format!("{}.svg", format!("{scene} {measure}").to_lowercase().replace(", ", "-").replace(' ', "-"));
        draw(&dir.join(&file), &format!("{title} ({unit})"), varied, &lines(&of_it))
            .unwrap_or_else(|err| panic!("cannot draw {file}: {err}"));
        plots.push(Plot { title, file });
    }
    plots
}

fn lines(figures: &[&Figure]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for figure in figures {
        if lines.iter().all(|line| line.peer != figure.peer) {
            let mut all_at: Vec<f64> = figures.iter().filter(|f| f.peer == figure.peer).map(|f| f.at).collect();
            all_at.sort_unstable_by(f64::total_cmp);
            all_at.dedup();
            let point = |at: f64| {
                let same = figures.iter().filter(|f| f.peer == figure.peer && f.at.total_cmp(&at).is_eq());
                let values: Vec<f64> = same.map(|f| f.value).collect();
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                (at, [least, middle(&values).unwrap_or_default(), most])
            };
            lines.push(Line { peer: figure.peer.clone(), points: all_at.into_iter().map(point).collect() });
        }
    }
    lines
}

/// A peer has its colour in every plot.
const fn colour(peer: &str) -> RGBColor {
    match peer.as_bytes() {
        b"sixgate" => RGBColor(0x1b, 0x6c, 0xa8),
        b"sixgate-tunnel" => RGBColor(0x6b, 0x4f, 0xa0),
        b"sixgate-spin" => RGBColor(0x5f, 0xb8, 0xe0),
        b"haproxy" => RGBColor(0xd1, 0x49, 0x3a),
        b"nginx" => RGBColor(0x3a, 0x8f, 0x4d),
        b"squid" => RGBColor(0xc7, 0x8a, 0x17),
        b"direct" => RGBColor(0x99, 0x99, 0x99),
        _ => RGBColor(0x55, 0x55, 0x55),
    }
}

fn draw(file: &Path, title: &str, varied: &str, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let ats = || points().map(|(at, _)| *at);
    let (least, most) = (ats().fold(f64::MAX, f64::min), ats().fold(0.0, f64::max));
    let bottom = points().map(|(_, [least, ..])| *least).fold(f64::MAX, f64::min);
    let top = points().map(|(_, [.., most])| *most).fold(f64::MIN_POSITIVE, f64::max);
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root);
    chart.caption(title, ("sans-serif", 17)).margin(12).x_label_area_size(36).y_label_area_size(64);
    if least.total_cmp(&most).is_eq() {
        // Nothing was varied: a bar for each peer.
        return bars(chart.build_cartesian_2d(0.0..lines.len() as f64, 0.0..top * 1.1)?, lines);
    }
    // What differs twentyfold is not seen on a linear axis.
    match (least > 0.0, bottom > 0.0 && top > bottom * 20.0) {
        (true, true) => {
            let y = (bottom * 0.8..top * 1.25).log_scale();
            axes(chart.build_cartesian_2d((least..most).log_scale(), y)?, varied, lines)
        }
        (true, false) => axes(chart.build_cartesian_2d((least..most).log_scale(), 0.0..top * 1.1)?, varied, lines),
        (false, _) => axes(chart.build_cartesian_2d(least..most, 0.0..top * 1.1)?, varied, lines),
    }
}

type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;

fn axes<'a, 'b: 'a, X, Y>(mut chart: Chart<'a, 'b, X, Y>, varied: &str, lines: &[Line]) -> Result<(), Box<dyn Error>>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(varied).x_label_formatter(&|at| format!("{at:.0}")).y_label_formatter(&|value| short(*value));
    mesh.light_line_style(WHITE).label_style(FONT).draw()?;
    for line in lines {
        let colour = colour(&line.peer);
        let medians = line.points.iter().map(|(at, [_, median, _])| (*at, *median));
        chart
            .draw_series(LineSeries::new(medians, colour.stroke_width(2)).point_size(3))?
            .label(&line.peer)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
        let ranges = line
            .points
            .iter()
            .map(|(at, [least, _, most])| PathElement::new(vec![(*at, *least), (*at, *most)], colour.stroke_width(1)));
        chart.draw_series(ranges)?;
    }
    chart.configure_series_labels().label_font(FONT).background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    Ok(())
}

fn bars(mut chart: Chart<'_, '_, RangedCoordf64, RangedCoordf64>, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let name = |at: &f64| {
        let is_middle = (at.fract() - 0.5).abs() < 0.01;
        lines.get(at.floor() as usize).filter(|_| is_middle).map(|line| line.peer.clone()).unwrap_or_default()
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh()
        .x_labels(2 * lines.len() + 1)
        .x_label_formatter(&name)
        .y_label_formatter(&|value| short(*value));
    mesh.light_line_style(WHITE).label_style(FONT).draw()?;
    for (n, line) in lines.iter().enumerate() {
        let Some((_, [least, median, most])) = line.points.first() else { continue };
        let middle = n as f64 + 0.5;
        let bar = [(middle - 0.3, 0.0), (middle + 0.3, *median)];
        chart.draw_series([Rectangle::new(bar, colour(&line.peer).mix(0.8).filled())])?;
        let range = vec![(middle, *least), (middle, *most)];
        chart.draw_series([PathElement::new(range, BLACK.stroke_width(1))])?;
    }
    Ok(())
}

/// Three digits that say something.
fn short(value: f64) -> String {
    match value.abs() {
        n if n >= 100.0 => format!("{value:.0}"),
        n if n >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
