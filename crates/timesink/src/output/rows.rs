//! Rows of a query, for people and for programs.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::json::writer::{
    EncoderOptions, JsonArray, NullableEncoder, WriterBuilder, make_encoder,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use timesink_output::words::cut;
use timesink_query::QueryResult;

use super::paint::Paint;
use super::safe;
use super::wrap::wrap;

/// The longest cell of a table, in characters.
const CELL_COLUMNS_MAX: usize = 80;

/// What a spreadsheet takes for the start of a formula, or skips before one; with the full-width
/// forms that some take for the same.
const FORMULA: [char; 10] = ['=', '+', '-', '@', '\t', '\n', '＝', '＋', '－', '＠'];

/// Between two columns of a table.
const GUTTER: &str = "  ";

/// Writes one array of objects; every object has every column. JSON has no NaN and no infinity:
/// they become null.
pub(crate) fn json(out: &mut impl Write, result: &QueryResult) -> Result<()> {
    check_names(&result.schema)?;
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, JsonArray>(Vec::new());
    for batch in &result.batches {
        writer.write(batch).context("failed to write the rows as JSON")?;
        write_safely(out, writer.get_mut())?;
    }
    writer.finish().context("failed to write the rows as JSON")?;
    write_safely(out, writer.get_mut())?;
    Ok(writeln!(out)?)
}

/// Refuses names that an object would hold twice, of which its readers keep one or the other.
fn check_names(schema: &SchemaRef) -> Result<()> {
    let mut seen = HashSet::new();
    match schema.fields().iter().find(|field| !seen.insert(field.name())) {
        Some(field) => bail!(
            "the query returns two columns `{0}`, and an object of JSON holds one: give one of \
             them an alias (`AS other_{0}`)",
            field.name()
        ),
        None => Ok(()),
    }
}

/// Moves whole pieces of JSON to the output.
fn write_safely(out: &mut impl Write, buffer: &mut Vec<u8>) -> Result<()> {
    let text = std::str::from_utf8(buffer).context("failed to write the rows as JSON")?;
    out.write_all(safe::json(text).as_bytes())?;
    buffer.clear();
    Ok(())
}

/// Writes RFC 4180, lists and maps as JSON text.
///
/// A text that a spreadsheet would run as a formula gets a `'` in front (OWASP, CSV injection).
pub(crate) fn csv(out: &mut impl Write, result: &QueryResult) -> Result<()> {
    let names: Vec<String> =
        result.schema.fields().iter().map(|field| csv_cell(field.name(), true)).collect();
    write!(out, "{}\r\n", names.join(","))?;
    for batch in &result.batches {
        let is_text: Vec<bool> =
            batch.columns().iter().map(|c| !is_number(c.data_type())).collect();
        let mut cells = Cells::new(&result.schema, batch)?;
        for row in 0..batch.num_rows() {
            let texts = cells.row(row)?.into_iter().zip(&is_text);
            let texts = texts.map(|(text, is_text)| csv_cell(&text.unwrap_or_default(), *is_text));
            write!(out, "{}\r\n", texts.collect::<Vec<_>>().join(","))?;
        }
    }
    Ok(())
}

fn csv_cell(text: &str, is_text: bool) -> String {
    let mut cell = safe::lines(text).into_owned();
    if is_text && cell.starts_with(FORMULA) {
        cell.insert(0, '\'');
    }
    if cell.contains(['"', ',', '\n', '\r']) {
        cell = format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell
}

/// Writes rows under their column names, numbers to the right; returns whether a cell was cut.
pub(crate) fn table(
    out: &mut impl Write,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    paint: Paint,
) -> Result<bool> {
    let head = |field: &FieldRef| cut(&safe::line(field.name()), CELL_COLUMNS_MAX);
    let mut rows = vec![schema.fields().iter().map(head).collect::<Vec<_>>()];
    let mut was_cut = false;
    for batch in batches {
        let mut cells = Cells::new(schema, batch)?;
        for row in 0..batch.num_rows() {
            let mut shown = |text: Option<String>| {
                let text = safe::line(&text.unwrap_or_default()).into_owned();
                let short = cut(&text, CELL_COLUMNS_MAX);
                was_cut |= short.len() != text.len();
                short
            };
            rows.push(cells.row(row)?.into_iter().map(&mut shown).collect());
        }
    }
    let right: Vec<bool> = schema.fields().iter().map(|f| is_number(f.data_type())).collect();
    write_columns(out, &rows, &right, paint)?;
    Ok(was_cut)
}

/// Returns rows as a table where that fits, else as names and values one after the other.
pub(crate) fn compact_rows(
    rows: &RecordBatch,
    paint: Paint,
    columns: usize,
) -> Result<Vec<String>> {
    let schema = rows.schema();
    let mut text = Vec::new();
    let was_cut = table(&mut text, &schema, std::slice::from_ref(rows), Paint::new(false))?;
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if !was_cut && lines.iter().all(|line| line.chars().count() <= columns) {
        lines[0] = paint.bold(&lines[0]);
        return Ok(lines);
    }
    records(&schema, rows, columns)
}

/// `name value, name value, ...` for each row, wrapped, NULL left out.
fn records(schema: &SchemaRef, rows: &RecordBatch, columns: usize) -> Result<Vec<String>> {
    let mut cells = Cells::new(schema, rows)?;
    let mut lines = Vec::new();
    for row in 0..rows.num_rows() {
        let texts = schema.fields().iter().zip(cells.row(row)?);
        let pairs = texts.filter_map(|(field, text)| {
            let text = cut(&safe::line(&text?), CELL_COLUMNS_MAX * 2);
            Some(format!("{} {text}", safe::line(field.name())))
        });
        let text = pairs.collect::<Vec<_>>().join(", ");
        let wrapped = wrap(&text, columns - 2);
        lines.extend(wrapped.iter().enumerate().map(|(number, line)| {
            let mark = if number == 0 { "- " } else { "  " };
            format!("{mark}{line}")
        }));
    }
    Ok(lines)
}

fn write_columns(
    out: &mut impl Write,
    rows: &[Vec<String>],
    right: &[bool],
    paint: Paint,
) -> Result<()> {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..right.len()).map(width).collect();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for ((cell, width), right) in row.iter().zip(&widths).zip(right) {
            let _ = match right {
                true => write!(line, "{cell:>width$}{GUTTER}"),
                false => write!(line, "{cell:<width$}{GUTTER}"),
            };
        }
        let line = line.trim_end();
        let line = if number == 0 { paint.bold(line) } else { line.to_owned() };
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

/// The cells of a batch as text: `None` for NULL, times in RFC 3339, nested values as JSON.
struct Cells<'a> {
    columns: Vec<Column<'a>>,
}

enum Column<'a> {
    Plain { array: &'a dyn Array, formatter: ArrayFormatter<'a> },
    Nested(NullableEncoder<'a>),
}

const PLAIN: FormatOptions<'static> = FormatOptions::new().with_timestamp_tz_format(None);

impl<'a> Cells<'a> {
    fn new(schema: &'a SchemaRef, batch: &'a RecordBatch) -> Result<Self> {
        let columns = schema.fields().iter().zip(batch.columns());
        let columns = columns.map(|(field, array)| Column::new(field, array.as_ref()));
        Ok(Self { columns: columns.collect::<Result<_>>()? })
    }

    /// Returns the texts of a row.
    fn row(&mut self, row: usize) -> Result<Vec<Option<String>>> {
        self.columns.iter_mut().map(|column| column.cell(row)).collect()
    }
}

impl<'a> Column<'a> {
    fn new(field: &'a FieldRef, array: &'a dyn Array) -> Result<Self> {
        if field.data_type().is_nested() {
            let options: &'static EncoderOptions = nested_options();
            let encoder =
                make_encoder(field, array, options).with_context(|| unwritable(field.name()))?;
            return Ok(Self::Nested(encoder));
        }
        let formatter =
            ArrayFormatter::try_new(array, &PLAIN).with_context(|| unwritable(field.name()))?;
        Ok(Self::Plain { array, formatter })
    }

    fn cell(&mut self, row: usize) -> Result<Option<String>> {
        match self {
            Self::Plain { array, formatter } => {
                let is_null = array.is_null(row) || array.data_type().is_null();
                let text = || formatter.value(row).try_to_string();
                Ok((!is_null).then(text).transpose().context("failed to write a cell")?)
            }
            Self::Nested(encoder) if encoder.is_null(row) => Ok(None),
            Self::Nested(encoder) => {
                let mut bytes = Vec::new();
                encoder.encode(row, &mut bytes);
                Ok(Some(String::from_utf8(bytes).context("failed to write a cell")?))
            }
        }
    }
}

fn unwritable(column: &str) -> String {
    format!("column `{column}` cannot be written: select parts of it, or cast it to text")
}

fn nested_options() -> &'static EncoderOptions {
    static OPTIONS: std::sync::LazyLock<EncoderOptions> =
        std::sync::LazyLock::new(|| EncoderOptions::default().with_explicit_nulls(true));
    &OPTIONS
}
