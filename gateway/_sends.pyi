from gateway.sends import Data

MARKS: int

def send(fd: int, data: Data, /) -> int: ...
def send_each(
    fds: list[int], data: Data, words: memoryview[int], place: int, marks: memoryview[int], mark: int, /
) -> list[tuple[int, int]]: ...
