/* Sending to clients' sockets. gateway/sends.py says what the functions do, and does the same in Python.
 *
 * Why it exists: write(2) on a socket passes the VFS first, which costs 0.6 us more than send(2), and Python has no
 * send(2) without a socket object per client. A copy of a push to all costs 5 us in all (`make bench`, all).
 *
 * The GIL is kept: MSG_DONTWAIT never waits, and to give it up and take it again would cost more than it lets others do.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>

/* One send(2); an end of the peer's is EPIPE and no signal. */
static ssize_t send_now(int fd, const void *data, size_t size)
{
    ssize_t taken;
    do {
        taken = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (taken < 0 && errno == EINTR);
    return taken;
}

/* A descriptor; -1 with an exception if it is none. An int alone will do: `__index__` of others could run any code. */
static int fd_of(PyObject *value, int *fd)
{
    long number;
    if (!PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError, "a descriptor is an int, not %.100s", Py_TYPE(value)->tp_name);
        return -1;
    }
    number = PyLong_AsLong(value);
    if (number == -1 && PyErr_Occurred())
        return -1;
    if (number < INT_MIN || number > INT_MAX) {
        PyErr_Format(PyExc_OverflowError, "no descriptor can be %ld", number);
        return -1;
    }
    *fd = (int)number;
    return 0;
}

static int expect_arguments(const char *name, Py_ssize_t given, Py_ssize_t wanted)
{
    if (given == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, not %zd", name, wanted, given);
    return -1;
}

static PyObject *sends_send(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    int fd;
    ssize_t taken;
    Py_buffer data;
    if (expect_arguments("send", count, 2) || fd_of(arguments[0], &fd))
        return NULL;
    if (PyObject_GetBuffer(arguments[1], &data, PyBUF_SIMPLE))
        return NULL;
    taken = send_now(fd, data.buf, (size_t)data.len);
    if (taken < 0)
        PyErr_SetFromErrno(PyExc_OSError); /* before the release, which may change errno */
    PyBuffer_Release(&data);
    return taken < 0 ? NULL : PyLong_FromSsize_t(taken);
}

/* The word at `place`; NULL with an exception if there is none. */
static volatile int *word_at(const Py_buffer *words, PyObject *place)
{
    Py_ssize_t at;
    if (words->itemsize != sizeof(int) || !words->format || strcmp(words->format, "i")) {
        PyErr_SetString(PyExc_TypeError, "words must be a buffer of C ints");
        return NULL;
    }
    at = PyNumber_AsSsize_t(place, PyExc_IndexError);
    if (at == -1 && PyErr_Occurred())
        return NULL;
    if (at < 0 || at >= words->len / words->itemsize) {
        PyErr_Format(PyExc_IndexError, "no word %zd among %zd", at, words->len / words->itemsize);
        return NULL;
    }
    return (volatile int *)words->buf + at;
}

static int note_rest(PyObject *rest, Py_ssize_t index, ssize_t taken)
{
    PyObject *pair = Py_BuildValue("nn", index, (Py_ssize_t)(taken < 0 ? 0 : taken));
    int failed = !pair || PyList_Append(rest, pair);
    Py_XDECREF(pair);
    return failed;
}

/* `word` is volatile: whoever finds the memory of a process that died must find in it what was being sent to. */
static int send_all(PyObject *fds, const Py_buffer *data, volatile int *word, PyObject *rest)
{
    int fd;
    ssize_t taken;
    /* the size anew each time: note_rest allocates, which may collect garbage, which may run any code */
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(fds); index++) {
        if (fd_of(PyList_GET_ITEM(fds, index), &fd))
            return -1;
        *word = fd;
        taken = send_now(fd, data->buf, (size_t)data->len);
        if (taken != data->len && note_rest(rest, index, taken))
            return -1;
    }
    return 0;
}

static PyObject *sends_send_each(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Py_buffer data, words;
    volatile int *word;
    PyObject *rest = NULL;
    if (expect_arguments("send_each", count, 4))
        return NULL;
    if (!PyList_Check(arguments[0])) {
        PyErr_Format(PyExc_TypeError, "descriptors come in a list, not %.100s", Py_TYPE(arguments[0])->tp_name);
        return NULL;
    }
    if (PyObject_GetBuffer(arguments[1], &data, PyBUF_SIMPLE))
        return NULL;
    if (!PyObject_GetBuffer(arguments[2], &words, PyBUF_WRITABLE | PyBUF_ND | PyBUF_FORMAT)) {
        word = word_at(&words, arguments[3]);
        if (word && (rest = PyList_New(0))) {
            if (send_all(arguments[0], &data, word, rest))
                Py_CLEAR(rest);
            *word = -1;
        }
        PyBuffer_Release(&words);
    }
    PyBuffer_Release(&data);
    return rest;
}

static PyMethodDef methods[] = {
    {"send", (PyCFunction)(void (*)(void))sends_send, METH_FASTCALL, "send(fd, data, /) -> bytes taken"},
    {"send_each", (PyCFunction)(void (*)(void))sends_send_each, METH_FASTCALL,
     "send_each(fds, data, words, place, /) -> [(index, bytes taken)] of those not taken whole"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "gateway._sends",
    .m_doc = "send(2) without a socket object.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__sends(void)
{
    return PyModuleDef_Init(&definition);
}
