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

#define TORN UINT_MAX /* as in gateway/sends.py */

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

/* The marks; NULL with an exception if they are none. */
static volatile unsigned *marks_in(const Py_buffer *marks)
{
    if (marks->itemsize != sizeof(unsigned) || !marks->format || strcmp(marks->format, "I")) {
        PyErr_SetString(PyExc_TypeError, "marks must be a buffer of C unsigned ints");
        return NULL;
    }
    return marks->buf;
}

static int note_rest(PyObject *rest, Py_ssize_t index, ssize_t taken)
{
    PyObject *pair = Py_BuildValue("nn", index, (Py_ssize_t)(taken < 0 ? 0 : taken));
    int failed = !pair || PyList_Append(rest, pair);
    Py_XDECREF(pair);
    return failed;
}

/* What is sent, and where is noted what becomes of it. The notes are volatile: whoever finds the memory of a process that
 * died must find in it what was being sent to, and what had been. */
struct fan_out {
    const void *data;
    Py_ssize_t size;
    volatile int *word;
    volatile unsigned *marks;
    Py_ssize_t descriptors; /* that there are marks for */
    unsigned mark;
};

static int send_to(const struct fan_out *fan_out, int fd, Py_ssize_t index, PyObject *rest)
{
    ssize_t taken;
    *fan_out->word = fd;
    taken = send_now(fd, fan_out->data, (size_t)fan_out->size);
    if (taken >= 0 && fd < fan_out->descriptors)
        fan_out->marks[fd] = taken == fan_out->size ? fan_out->mark : TORN;
    return taken == fan_out->size ? 0 : note_rest(rest, index, taken);
}

static int send_all(PyObject *fds, const struct fan_out *fan_out, PyObject *rest)
{
    int fd;
    /* the size anew each time: note_rest allocates, which may collect garbage, which may run any code */
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(fds); index++)
        if (fd_of(PyList_GET_ITEM(fds, index), &fd) || send_to(fan_out, fd, index, rest))
            return -1;
    return 0;
}

/* The list of those that did not take all; NULL with an exception. */
static PyObject *send_noting(PyObject *const *arguments, const Py_buffer *data, const Py_buffer *words,
                             const Py_buffer *marks)
{
    PyObject *rest;
    struct fan_out fan_out = {.data = data->buf, .size = data->len, .descriptors = marks->len / (Py_ssize_t)sizeof(unsigned)};
    unsigned long mark = PyLong_AsUnsignedLong(arguments[5]);
    if (mark == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    if (mark > UINT_MAX)
        return PyErr_Format(PyExc_OverflowError, "no mark can be %lu", mark);
    fan_out.mark = (unsigned)mark;
    if (!(fan_out.word = word_at(words, arguments[3])) || !(fan_out.marks = marks_in(marks)) || !(rest = PyList_New(0)))
        return NULL;
    if (send_all(arguments[0], &fan_out, rest))
        Py_CLEAR(rest);
    *fan_out.word = -1;
    return rest;
}

static PyObject *sends_send_each(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Py_buffer data, words, marks;
    PyObject *rest = NULL;
    if (expect_arguments("send_each", count, 6))
        return NULL;
    if (!PyList_Check(arguments[0])) {
        PyErr_Format(PyExc_TypeError, "descriptors come in a list, not %.100s", Py_TYPE(arguments[0])->tp_name);
        return NULL;
    }
    if (PyObject_GetBuffer(arguments[1], &data, PyBUF_SIMPLE))
        return NULL;
    if (!PyObject_GetBuffer(arguments[2], &words, PyBUF_WRITABLE | PyBUF_ND | PyBUF_FORMAT)) {
        if (!PyObject_GetBuffer(arguments[4], &marks, PyBUF_WRITABLE | PyBUF_ND | PyBUF_FORMAT)) {
            rest = send_noting(arguments, &data, &words, &marks);
            PyBuffer_Release(&marks);
        }
        PyBuffer_Release(&words);
    }
    PyBuffer_Release(&data);
    return rest;
}

static PyMethodDef methods[] = {
    {"send", (PyCFunction)(void (*)(void))sends_send, METH_FASTCALL, "send(fd, data, /) -> bytes taken"},
    {"send_each", (PyCFunction)(void (*)(void))sends_send_each, METH_FASTCALL,
     "send_each(fds, data, words, place, marks, mark, /) -> [(index, bytes taken)] of those not taken whole"},
    {NULL, NULL, 0, NULL},
};

/* MARKS tells this version from the one before, whose send_each took four arguments. */
static int fill_module(PyObject *module)
{
    return PyModule_AddIntConstant(module, "MARKS", 1);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill_module}, {0, NULL}};

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
