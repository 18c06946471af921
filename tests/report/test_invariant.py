"""A report requires that listed = evaluated + skipped images, for each method."""

import numpy as np
import pyarrow as pa
import pytest

from tests.report.synthetic import METRICS, base, one_metric
from vitjax.errors import RunError
from vitjax.report import summarise


def run(count=6, methods=("random", "rollout"), **columns):
    return one_metric(np.full((count, len(methods)), 0.5), methods=list(methods), **columns)


def without(table, *rows):
    return table.take(pa.array([i for i in range(len(table)) if i not in rows]))


def test_complete_run_has_no_mark():
    config, table = run()
    summary = summarise(config, table, metrics=METRICS)
    assert summary.mark == ""
    assert summary.coverage.statuses == {"random": {"ok": 6}, "rollout": {"ok": 6}}


def test_skipped_records_are_counted_by_status():
    status = ["ok", "ok", "unreadable", "unreadable", "ok", "degenerate"]
    config, table = run(3, status=status)
    statuses = summarise(config, table, metrics=METRICS).coverage.statuses
    assert statuses == {"random": {"ok": 2, "unreadable": 1}, "rollout": {"ok": 1, "degenerate": 1, "unreadable": 1}}


def test_order_of_rows_does_not_matter():
    config, table = one_metric(np.random.default_rng(0).random((9, 3)), methods=["random", "a", "b"])
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(len(table))))
    one, other = (summarise(config, records, metrics=METRICS).rows for records in (table, shuffled))
    assert one == other


def test_missing_record_is_an_error_that_names_the_image():
    config, table = run()
    with pytest.raises(RunError, match=r"1 of 2 methods lack records; rollout lacks 1 of 6 images \(number 2\)"):
        summarise(config, without(table, 5), metrics=METRICS)


def test_missing_chunk_is_an_error_that_names_five_images():
    config, table = run(20)
    with pytest.raises(RunError, match=r"number 10, 11, 12, 13, 14 ... and 5 more"):
        summarise(config, table.slice(0, 20), metrics=METRICS)


def test_partial_run_is_marked():
    config, table = run(20)
    assert summarise(config, table.slice(0, 20), metrics=METRICS, partial=True).mark == "partial: 10 of 20 images"
    uneven = summarise(config, table.slice(0, 21), metrics=METRICS, partial=True)
    assert uneven.mark == "partial: 10 to 11 of 20 images"
    assert uneven.rows["random", "iou"].estimate.n == 11


def test_partial_run_that_is_complete_has_no_mark():
    config, table = run()
    assert summarise(config, table, metrics=METRICS, partial=True).mark == ""


@pytest.mark.parametrize("partial", [False, True])
class TestErrorsEvenIfPartial:
    def assert_error(self, config, table, match, partial):
        with pytest.raises(RunError, match=match):
            summarise(config, table, metrics=METRICS, partial=partial)

    def test_duplicate_record(self, partial):
        config, table = run()
        duplicate = pa.concat_tables([table, table.slice(0, 1)])
        self.assert_error(config, duplicate, "random: more than one record of image00000", partial)

    def test_duplicate_record_instead_of_another(self, partial):
        config, table = run()
        duplicate = pa.concat_tables([without(table, 11), table.slice(1, 1)])
        self.assert_error(config, duplicate, "rollout: more than one record of image00000", partial)

    def test_image_that_is_not_listed(self, partial):
        config, table = run()
        self.assert_error({**config, "count": 4}, table, "records of images 4, 5, but only 4 are listed", partial)

    def test_method_of_another_run(self, partial):
        config, table = run()
        config["methods"].pop()
        self.assert_error(config, table, "records of rollout, not among the methods", partial)

    def test_no_status(self, partial):
        status = pa.array([None] + ["ok"] * 11, pa.string())
        self.assert_error(*run(status=status), "random: 1 records without a status", partial)

    def test_one_id_for_two_images(self, partial):
        ids = ["a", "a", "b", "b", "a", "a"]
        self.assert_error(*run(3, image_id=ids), "'a' is used for image numbers 0, 2", partial)

    def test_two_ids_for_one_image(self, partial):
        ids = ["a", "b", "c", "c", "d", "d"]
        self.assert_error(*run(3, image_id=ids), "number 0 has two ids: 'a' and 'b'", partial)

    def test_missing_column(self, partial):
        config, _ = run()
        self.assert_error(config, base(["random", "rollout"], 6), "no column 'iou.value'", partial)

    def test_list_instead_of_a_number(self, partial):
        config, _ = run(3)
        table = base(["random", "rollout"], 3).append_column("iou.value", pa.array([[0.5]] * 6))
        self.assert_error(config, table, "'iou.value' holds lists", partial)
