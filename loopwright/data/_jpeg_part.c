/* A part of a JPEG file: rows above it are read but not computed, rows below it not read, columns beside it not computed.
   Where this is not compiled, _jpeg.py decodes all columns, and all rows above. Calls libjpeg-turbo. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#if !defined(LIBJPEG_TURBO_VERSION_NUMBER) || LIBJPEG_TURBO_VERSION_NUMBER < 2001000
#error "needs libjpeg-turbo 2.1: others cannot leave out columns, or not exactly"
#endif

#define MARGIN 8 /* columns and rows beside the part, whose colours reach into it where colour is enlarged smoothly */
#define LINES 16 /* asked for at once */

typedef struct {
    struct jpeg_decompress_struct file;
    struct jpeg_error_mgr errors;
    jmp_buf failed;
    char message[JMSG_LENGTH_MAX];
} Decoder;

typedef struct {
    int left, top, right, bottom;
} Box;

static void fail(j_common_ptr file)
{
    Decoder *decoder = file->client_data;
    file->err->format_message(file, decoder->message);
    longjmp(decoder->failed, 1);
}

static void fail_if_warned(j_common_ptr file, int level)
{
    if (level < 0) /* damaged data */
        fail(file);
}

static int most(int a, int b) { return a > b ? a : b; }
static int least(int a, int b) { return a < b ? a : b; }

/* Whether the box, which becomes what was really decoded, fits into the room. */
static int decode(Decoder *decoder, const Py_buffer *data, int reduction, Box *box, const Py_buffer *room)
{
    struct jpeg_decompress_struct *file = &decoder->file;
    jpeg_mem_src(file, data->buf, data->len);
    jpeg_read_header(file, TRUE);
    file->scale_num = 1;
    file->scale_denom = reduction;
    file->out_color_space = JCS_RGB;
    jpeg_start_decompress(file);
    int columns = file->output_width, rows = file->output_height, top = most(0, box->top - MARGIN);
    if (box->left < 0 || box->left >= box->right || box->right > columns || box->top < 0 || box->top >= box->bottom ||
        box->bottom > rows)
        return 0;
    JDIMENSION left = most(0, box->left - MARGIN), width = least(columns, box->right + MARGIN) - left;
    jpeg_crop_scanline(file, &left, &width);
    if (room->len / 3 / width < box->bottom - top)
        return 0;
    jpeg_skip_scanlines(file, top);
    while ((int)file->output_scanline < box->bottom) {
        JSAMPROW lines[LINES];
        int count = least(LINES, box->bottom - file->output_scanline);
        for (int line = 0; line < count; line++)
            lines[line] = (JSAMPROW)room->buf + (size_t)(file->output_scanline - top + line) * width * 3;
        jpeg_read_scanlines(file, lines, count);
    }
    *box = (Box){left, top, left + width, box->bottom};
    return 1;
}

static const char *try_decode(Decoder *decoder, const Py_buffer *data, int reduction, Box *box, const Py_buffer *room)
{
    const char *volatile wrong = NULL;
    decoder->file.err = jpeg_std_error(&decoder->errors);
    decoder->file.client_data = decoder;
    decoder->errors.error_exit = fail;
    decoder->errors.emit_message = fail_if_warned;
    if (setjmp(decoder->failed) == 0) {
        jpeg_create_decompress(&decoder->file);
        if (!decode(decoder, data, reduction, box, room))
            wrong = "the part is not one of this picture, or there is no room for it";
    } else {
        wrong = decoder->message;
    }
    jpeg_destroy_decompress(&decoder->file);
    return wrong;
}

static PyObject *decode_part(PyObject *module, PyObject *arguments)
{
    Decoder decoder;
    Py_buffer data, room;
    Box box;
    int reduction;
    const char *wrong;
    if (!PyArg_ParseTuple(arguments, "y*i(iiii)w*", &data, &reduction, &box.left, &box.top, &box.right, &box.bottom, &room))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    memset(&decoder, 0, sizeof decoder);
    wrong = try_decode(&decoder, &data, reduction, &box, &room);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    PyBuffer_Release(&room);
    if (wrong != NULL) {
        PyErr_SetString(PyExc_ValueError, wrong);
        return NULL;
    }
    return Py_BuildValue("(iiii)", box.left, box.top, box.right, box.bottom);
}

static PyMethodDef methods[] = {{"decode_part", decode_part, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_jpeg_part", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__jpeg_part(void) { return PyModule_Create(&module); }
