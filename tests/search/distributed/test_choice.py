from search.distributed import LocalWorkers, RayWorkers, distribution_for
from search.distribution import Serial


def test_a_command_line_chooses_where_a_search_runs() -> None:
    assert isinstance(distribution_for(None, None), Serial)
    assert distribution_for(4, None) == LocalWorkers(4)
    assert distribution_for(None, "auto") == RayWorkers("auto")
    assert distribution_for(4, "10.0.0.1:6379") == RayWorkers("10.0.0.1:6379", 4)
